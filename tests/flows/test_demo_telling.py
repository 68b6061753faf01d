"""What the demo writes on a terminal that knows colours, on one that does not want them, and on one that knows nothing."""

import io
import os
import pty
import re
import shlex
import sys
from pathlib import Path

import pytest
from demo.telling import Telling

from tests.house.machine import CHECKOUT
from tests.parts.processes import PLAIN_ENVIRONMENT, run


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
        said = b""
        while b"OPEN" not in said or not said.endswith(b"\n"):
            said += os.read(master, 4096)
    os.close(master)
    assert b"a step" in said
    assert (b"\x1b[32;1mOPEN" in said) is has_colour
    assert (b"\x1b[K" in said) is moves


READY = """
import sys
from pathlib import Path
from demo.parts import Parts
from demo.telling import Telling
from demo.trial import Trial
ssh = Path(sys.argv[2]) if len(sys.argv) > 2 else None
trial = Trial(Path(sys.argv[1]), Parts(None, None, None, None, ssh), print)
trial.device = "d-aaaaaaaaaaaaaaaa"
Telling(sys.stdout).ready(trial)
"""


def test_ready_when_there_is_no_ssh_client_then_the_line_says_what_to_install(tmp_path: Path) -> None:
    """A line that cannot be typed helps nobody; with a client it is the line itself, for a folder with spaces, too."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    argv: list[str | Path] = [sys.executable, "-c", READY, folder]
    env = {**PLAIN_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT / "examples")}
    (without,) = re.findall(r"  log in +(.*)", run(argv, env=env).stdout.decode())
    assert "apt install openssh-client" in without
    (line,) = re.findall(r"  log in +(.*)", run([*argv, "/usr/bin/ssh"], env=env).stdout.decode())
    words = shlex.split(line)
    assert words[:3] == ["ssh", "-i", str(folder / "device.key")]
    assert f'UserKnownHostsFile="{folder}/known_hosts"' in words


def test_lines_when_the_history_has_grown_longer_than_its_first_page_then_each_new_one_is_still_said_once() -> None:
    """Whoever plays with the switch for an hour sees the last time as the first."""
    whole = [{"at": f"2026-01-01T00:00:{n:02}Z", "verb": "session.on", "sentence": f"line {n}"} for n in range(9)]
    out = io.StringIO()
    telling = Telling(out)
    telling.lines(whole[2::-1], is_known=True)
    for end in range(3, 9):
        telling.lines(whole[max(0, end - 3) : end + 1][::-1])
    assert re.findall(r"line \d", out.getvalue()) == [f"line {n}" for n in range(3, 9)]
