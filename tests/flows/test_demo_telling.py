"""What the demo writes on a terminal that knows colours, on one that does not want them, and on one that knows nothing."""

import os
import pty

import pytest
from demo.telling import Telling


@pytest.mark.parametrize(
    ("term", "no_color", "has_colour", "moves"),
    [
        ("xterm", None, True, True),
        ("xterm", "", True, True),
        ("xterm", "1", False, True),
        ("dumb", None, False, False),
        (None, None, False, False),
    ],
)
def test_telling_when_the_terminal_is_so_then_colours_and_moving_signs_are_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, term: str | None, no_color: str | None, *, has_colour: bool, moves: bool
) -> None:
    """NO_COLOR counts where it is not empty (no-color.org) and is about colours alone; without TERM there is only text."""
    for name, value in (("TERM", term), ("NO_COLOR", no_color)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        telling = Telling(terminal)
        telling.step("a step")
        telling.end("the end")
        telling.door({"state": "open"})
        said = os.read(master, 4096)
    os.close(master)
    assert b"a step" in said
    assert (b"\x1b[32;1mOPEN" in said) is has_colour
    assert (b"\x1b[K" in said) is moves
