"""An ordinary user of this machine, for as long as a test: an account, an empty home, and a checkout to try."""

import os
import pwd
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect

from tests.house.machine import CHECKOUT
from tests.parts.accounts import remove_account
from tests.parts.files import scratch_folder
from tests.parts.ordinary import as_ordinary
from tests.parts.processes import PLAIN_ENVIRONMENT, run

READY_S = 120


@dataclass(slots=True)
class Newcomer:
    """Somebody who tries doorward."""

    name: str
    folder: Path
    started: list["pexpect.spawn[Any]"] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        home = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.temporary), "TERM": "xterm"}
        return {**PLAIN_ENVIRONMENT, **home, "PYTHONPATH": f"{CHECKOUT / 'examples'}:{CHECKOUT}"}

    @property
    def temporary(self) -> Path:
        return self.folder / "with some spaces"

    def demo(self, *words: str, environment: Mapping[str, str] | None = None) -> "pexpect.spawn[Any]":
        """Start the demo in a terminal of its own, with another environment where one is given."""
        argv = [*as_ordinary(self.name), sys.executable, "-m", "demo", *words]
        env = dict(environment or self.environment)
        made = pexpect.spawn(argv[0], argv[1:], env=env, timeout=READY_S, dimensions=(50, 400))
        self.started.append(made)
        return made

    def command(self, *argv: str | Path) -> list[str]:
        return [str(word) for word in (*as_ordinary(self.name), *argv)]

    def run(self, *argv: str | Path, limit_s: float = 150) -> subprocess.CompletedProcess[bytes]:
        return run(self.command(*argv), env=self.environment, limit_s=limit_s)

    def processes(self) -> list[int]:
        """Name everything that runs as this user, and is not merely waiting to be reaped."""
        uid = f"\nUid:\t{pwd.getpwnam(self.name).pw_uid}\t".encode()
        found = {int(one.parent.name): read_or_empty(one) for one in Path("/proc").glob("[0-9]*/status")}
        return [pid for pid, said in found.items() if uid in said and b"\nState:\tZ" not in said]

    def left(self) -> list[str]:
        """Name what is left of any demo: folders, and whatever this user runs.

        A process without words has given its memory back: the kernel has not finished with it yet, and is not asked to be quick.
        """
        words = {pid: read_or_empty(Path(f"/proc/{pid}/cmdline")) for pid in self.processes()}
        return [*map(str, self.temporary.iterdir()), *(f"{pid}: {said!r}" for pid, said in words.items() if said)]


@contextmanager
def newcomer_with_account() -> Iterator[Newcomer]:
    """Make the account, and take it away with everything of it."""
    name = f"dwagent{secrets.token_hex(3)}"
    # A number that no useradd chooses by itself: a house's machine has accounts of its own, and what is killed below goes by number.
    number = str(50_000 + secrets.randbelow(9_000))
    with scratch_folder() as folder:
        made = Newcomer(name, folder)
        home = str(folder / "home")
        added = run(
            ["/usr/sbin/useradd", "--uid", number, "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", name]
        )
        assert added.returncode == 0, added.stderr.decode()
        try:
            for place in (folder / "home", made.temporary):
                place.mkdir(mode=0o700)
                os.chown(place, int(run(["/usr/bin/id", "-u", name]).stdout), -1)
            yield made
        finally:
            for one in made.started:
                one.close(force=True)
            for pid in made.processes():  # of a test that failed
                os.kill(pid, signal.SIGKILL)
            remove_account(name)


def read_or_empty(path: Path) -> bytes:
    """Read a file of a process, which may just have ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
