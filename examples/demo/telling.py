"""What the demo says on the terminal: steps with a sign of life, the places to go, and what happens."""

import os
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from demo.trial import Trial

_FRAMES: Final = "|/-\\"
_WORDS: Final = {"shut": "2", "opening": "33", "open": "32;1", "closing": "33", "failed": "31;1"}
"""Colours of SGR (ECMA-48, section 8.3.117), beside the word and never instead of it."""


class Telling:
    """Writes to ``out``; colour and moving signs only on a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._has_colour = self._is_terminal and "NO_COLOR" not in os.environ
        self._shown = ""
        self._busy: threading.Event | None = None

    def step(self, what: str) -> None:
        """Say what is being done now; a step that takes long shows that it lives."""
        self._rest()
        if not self._is_terminal:
            self._write(f"- {what}\n")
            return
        self._busy = threading.Event()
        threading.Thread(
            target=self._turn, args=(what, self._busy, time.monotonic()), name="sign of life", daemon=True
        ).start()

    def _turn(self, what: str, done: threading.Event, since: float) -> None:
        frame = 0
        while not done.wait(0.1):
            took = time.monotonic() - since
            seconds = f" {took:.0f} s" if took > 2 else ""  # what is quicker needs no clock
            self._write(f"\r{_FRAMES[frame % 4]} {what}{seconds}")
            frame += 1
        self._write(f"\r\x1b[K- {what} ({time.monotonic() - since:.1f} s)\n")
        self._busy = None

    def _rest(self) -> None:
        busy, self._busy = self._busy, None
        if busy is not None:
            busy.set()
            time.sleep(0.15)  # the thread writes its last line

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

    def line(self, line: dict[str, Any]) -> None:
        """Say one line of the history."""
        at = datetime.fromisoformat(line["at"]).astimezone()
        by = f", {line['by']}" if line.get("by") else ""
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
