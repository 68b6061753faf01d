"""What the demo says on the terminal: steps with a sign of life, the places to go, and what happens."""

import itertools
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from demo.trial import Trial

_FRAMES: Final = "|/-\\"
_TURN_S: Final = 0.1
_LONG_S: Final = 2.5
"""A step that takes longer says how long it takes."""
_WORDS: Final = {"shut": "2", "opening": "33", "open": "32;1", "closing": "33", "failed": "31;1"}
"""Colours of SGR (ECMA-48, section 8.3.117), beside the word and never instead of it."""


class Telling:
    """Writes to ``out``; colour and moving signs only on a terminal that knows them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # A terminal without a name, or a dumb one, understands no control sequence (terminfo(5)).
        self._is_terminal = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_colour = self._is_terminal and not os.environ.get("NO_COLOR")
        self._shown = ""
        self._told: set[tuple[str, str]] = set()
        self._over = threading.Event()
        self._alive: threading.Thread | None = None

    def step(self, what: str) -> None:
        """Say what is being done now; a step that takes long shows that it lives."""
        self._rest()
        if not self._is_terminal:
            self._write(f"- {what}\n")
        work = self._turn if self._is_terminal else self._count
        self._over = threading.Event()
        self._alive = threading.Thread(
            target=work, args=(what, self._over, time.monotonic()), name="sign of life", daemon=True
        )
        self._alive.start()

    def _turn(self, what: str, over: threading.Event, since: float) -> None:
        frames = itertools.cycle(_FRAMES)
        with suppress(OSError):  # nobody reads any more; whoever says the next word finds out
            while not over.wait(_TURN_S):
                took = time.monotonic() - since
                seconds = f" {took:.0f} s" if took > _LONG_S else ""  # what is quicker needs no clock
                # A line that is longer than the terminal is wide would be written below itself again and again.
                line = f"{next(frames)} {what}{seconds}"[: shutil.get_terminal_size().columns - 1]
                self._write(f"\r{line}")
            self._write(f"\r\x1b[K- {what} ({time.monotonic() - since:.1f} s)\n")

    def _count(self, _what: str, over: threading.Event, since: float) -> None:
        with suppress(OSError):
            while not over.wait(_LONG_S):
                self._write(f"  … {time.monotonic() - since:.0f} s\n")

    def _rest(self) -> None:
        self._over.set()
        if self._alive is not None:
            self._alive.join()
            self._alive = None

    def ready(self, trial: "Trial") -> None:
        """Say where everything is, and what to do."""
        from demo.trial import DEVICE, OWNER  # late: trial says through us

        self._rest()
        parts = ", ".join(f"{name} {part}" for name, part in trial.parts.said().items())
        line = (
            trial.ssh_line()
            if trial.parts.ssh
            else "(no ssh client here: apt install openssh-client, or any other SSH client)"
        )
        self._write(
            f"""
doorward runs, all of it below {trial.folder}
  parts     {parts}
  console   {self._strong(trial.address)}   (your browser will ask about its certificate: this trial made its own root)
  owner     {OWNER}
  password  {trial.password}
  device    {DEVICE}; turn remote maintenance on at its page
  log in    {self._strong(line)}
            (works while the door is open; it opens your own account, {trial.user})
Ctrl-C ends everything and leaves nothing.

"""
        )

    def lines(self, newest: list[dict[str, Any]], *, is_known: bool = False) -> None:
        """Say, in order, what a first page of the history (newest first) has that was not said or known before."""
        for line in reversed(newest):
            name = (line["at"], line["verb"])
            if name not in self._told and not is_known:
                self._line(line)
            self._told.add(name)

    def _line(self, line: dict[str, Any]) -> None:
        at = datetime.fromisoformat(line["at"]).astimezone()
        by = f" by {line['by']}" if line.get("by") else ""
        self._write(f"{at:%H:%M:%S}  {line['sentence']}{by}\n")

    def door(self, door: dict[str, Any]) -> None:
        """Say what the door is, when it is something else than before."""
        word = str(door["state"])
        if word != self._shown:
            self._shown = word
            self._write(
                f"{datetime.now().astimezone():%H:%M:%S}  the door is {self._coloured(word.upper(), _WORDS.get(word, '0'))}\n"
            )

    def failed(self, why: str) -> None:
        """Say what went wrong."""
        self._rest()
        sys.stderr.write(f"\n{why}\n")

    def end(self, what: str) -> None:
        """Say the last words."""
        self._rest()
        self._write(f"- {what}\n")

    def _strong(self, text: str) -> str:
        return self._coloured(text, "1")

    def _coloured(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colour else text

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
