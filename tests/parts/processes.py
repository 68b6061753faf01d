"""Programs that a test starts and surely ends, each by its own pid, with its log in the test's scratch folder."""

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts.ports import is_listening
from tests.parts.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Program:
    """One started program; a holder waits for the process that it started, ends after it, and hears no SIGTERM (unshare(1)).

    Attributes:
        ending: the signal at which it ends and tidies up.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    is_holder: bool = False
    ending: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def log_text(self) -> str:
        """Give what it has written so far to standard output and standard error."""
        return self.log.read_text(errors="replace")

    def wait_for(self, predicate: Callable[[], object], limit_s: float = 15, what: str = "an answer") -> None:
        """Wait until ``predicate`` is true; fail at once, with the log, when the program ends before."""

        def is_there() -> bool:
            assert self.is_running, f"{self.name} ended with {self.process.returncode}:\n{self.log_text()[-4000:]}"
            return bool(predicate())

        try:
            wait_until(is_there, limit_s, f"{what} of {self.name}")
        except AssertionError as failed:
            raise AssertionError(f"{failed}\n{self.log_text()[-4000:]}") from None

    def wait_for_port(self, port: int, host: str = "127.0.0.1", limit_s: float = 15) -> None:
        """Wait until a TCP port of this program accepts."""
        self.wait_for(lambda: is_listening(port, host), limit_s, f"port {port}")

    def wait_for_socket(self, path: Path, limit_s: float = 15) -> None:
        """Wait until a unix stream socket of this program accepts."""
        self.wait_for(lambda: _accepts(path), limit_s, f"socket {path}")

    def wait_for_log(self, text: str, limit_s: float = 15) -> None:
        """Wait until ``text`` stands in the log."""
        self.wait_for(lambda: text in self.log_text(), limit_s, f"{text!r} in the log")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the program has ended."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self, limit_s: float = 5) -> int:
        """Ask the program to end, insist after ``limit_s``, and give its exit status."""
        self.ask_to_end()
        return self.wait_for_end(limit_s)

    def ask_to_end(self) -> None:
        """Tell the program to end, and do not wait for it."""
        self.signal(signal.SIGCONT)  # a program that a test stopped cannot end
        if self.is_holder:
            self._kill_held()
        else:
            self.signal(self.ending)

    def wait_for_end(self, limit_s: float = 5) -> int:
        """Wait until a program that was asked has ended, insist after ``limit_s``, and give its exit status."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def _kill_held(self) -> None:
        with suppress(OSError):
            for held in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                os.kill(int(held), signal.SIGKILL)

    def kill(self) -> int:
        """End the program with no chance to tidy up, and give its exit status."""
        self.signal(signal.SIGKILL)
        return self.process.wait(5)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class Programs:
    """Starts programs and remembers them, so that a fixture can end them all."""

    def __init__(self, scratch: Path) -> None:
        """Keep logs in ``scratch``."""
        self.scratch = scratch
        self._started: list[Program] = []

    def start(
        self,
        *argv: str | os.PathLike[str],
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        is_holder: bool = False,
        ending: signal.Signals = signal.SIGTERM,
    ) -> Program:
        """Start a program with an argument list.

        Args:
            argv: the absolute program and its arguments.
            name: for its log's file name; the program's own name when not given.
            env: its whole environment; a plain PATH and nothing else when not given.
            cwd: its working folder; the scratch folder when not given.
            user: the system user to run as, with its first group alone; needs root.
            is_holder: it is ended by killing the process that it waits for.
            ending: the signal at which it ends.
        """
        called = name or Path(argv[0]).name
        log = self.scratch / f"{called}-{len(self._started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*_as(user), *(os.fspath(part) for part in argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(PLAIN_ENVIRONMENT if env is None else env),
                cwd=cwd or self.scratch,
            )
        program = Program(called, process, log, is_holder, ending)
        self._started.append(program)
        return program

    def end_all(self) -> None:
        """End what was started, all of it side by side."""
        for program in reversed(self._started):
            program.ask_to_end()
        for program in reversed(self._started):
            program.wait_for_end()
        self._started.clear()


PLAIN_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""What a started program sees of the tests' own environment: nothing."""


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    limit_s: float = 30,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and give its status and output; never raises for a status."""
    return subprocess.run(
        [*_as(user), *(os.fspath(part) for part in argv)],
        input=stdin,
        capture_output=True,
        timeout=limit_s,
        check=False,
        env=dict(PLAIN_ENVIRONMENT if env is None else env),
    )


def _as(user: str | None) -> list[str]:
    """Give what stands before a command that ``user`` runs, with the first group alone.

    ``subprocess``'s own way forks, and copies the tables of all that a process of tests has loaded: 6 ms of the processor each.
    """
    if user is None:
        return []
    there = pwd.getpwnam(user)
    return ["/usr/bin/setpriv", f"--reuid={there.pw_uid}", f"--regid={there.pw_gid}", "--clear-groups", "--"]
