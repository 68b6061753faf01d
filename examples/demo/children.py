"""The trial's programs: each in a session of its own (Ctrl-C is the demo's alone), dying with it, its log in the folder."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo import scratch
from demo.waiting import InVain, wait_until

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_END_S: Final = 8.0
_libc: Final = ctypes.CDLL(None)


class Failed(Exception):
    """A program of the trial's did not do what it was started for; the text ends with what it said."""


@dataclass(slots=True)
class Child:
    """One program that runs beside the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Give the end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


@dataclass(slots=True)
class Children:
    """Starts programs, and ends all of them."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _started: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Inherit what loses its parent: a door's processes outlive the runner that started them."""
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        passed = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        self.environment = {"PATH": "/usr/bin:/bin", **passed, "HOME": str(self.folder)}

    def start(self, name: str, *argv: str | os.PathLike[str]) -> Child:
        """Start a program that goes on."""
        log = self.folder / f"{name}.log"
        demo = os.getpid()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
                preexec_fn=lambda: _die_with(demo),  # noqa: PLW1509  # this process has one thread
            )
        scratch.mark(self.folder, process.pid)
        child = Child(name, process, log)
        self._started.append(child)
        return child

    def run(self, *argv: str | os.PathLike[str], stdin: bytes = b"", limit_s: float = 60) -> str:
        """Run a program to its end and give its output; raises Failed for any status but 0."""
        words = [os.fspath(word) for word in argv]
        self.check()  # what is run speaks to what was started, and could not say why it gets no answer
        try:
            done = subprocess.run(
                words, input=stdin, capture_output=True, cwd=self.folder, env=self.environment,
                timeout=limit_s, check=False, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"{Path(words[0]).name} did not end within {limit_s:.0f} s") from None
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode != 0:
            raise Failed(f"{' '.join([Path(words[0]).name, *words[1:]])} ended with {done.returncode}:\n{said[-3000:]}")
        return done.stdout.decode(errors="replace")

    def wait(self, child: Child, is_so: Callable[[], object], what: str, limit_s: float = 30) -> None:
        """Wait for what a program is to bring about; raises Failed where any of them ends before or it takes too long."""

        def look() -> bool:
            self.check()
            return bool(is_so())

        try:
            wait_until(look, limit_s, what)
        except InVain as vain:
            raise Failed(f"{vain}\n{child.said()}") from None

    def check(self) -> None:
        """Raise Failed where a program has ended by itself."""
        if said := self.who_ended():
            raise Failed(said)

    def who_ended(self, patience_s: float = 0.0) -> str | None:
        """Name a program that has ended by itself, with what it said; its connections may break a moment before."""
        until = time.monotonic() + patience_s
        while (ended := self._ended()) is None and time.monotonic() < until:
            time.sleep(0.05)
        return None if ended is None else f"{ended.name} ended with {ended.process.returncode}:\n{ended.said()}"

    def _ended(self) -> Child | None:
        return next((one for one in self._started if one.process.poll() is not None), None)

    def end_all(self) -> None:
        """End what was started: all are told at once, for some take seconds, and nobody waits gladly after Ctrl-C."""
        for child in reversed(self._started):
            with suppress(ProcessLookupError):
                child.process.terminate()
        for child in self._started:
            _wait_or_kill(child.process)
        self._started.clear()


def _wait_or_kill(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_S)


def program(name: str) -> Path:
    """Name one of our programs: they stand beside the interpreter that runs us."""
    return Path(sys.executable).parent / name


def ours(name: str, *words: str | os.PathLike[str]) -> Sequence[str | os.PathLike[str]]:
    """Build a command of ours; through the interpreter, for a path with spaces breaks the first line of a script."""
    package = name.replace("-", "_")
    return (sys.executable, "-m", package, *words)


def _die_with(demo: int) -> None:
    """Run between fork and exec: only what was looked up before."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != demo:
        os._exit(127)
