"""A process without a descriptor left: prlimit(1) takes them away and gives them back."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.parts.processes import run

_STANDARD: Final = 3
"""Input, output and errors; the limit bounds a new descriptor's number and says nothing to those that are open."""


@contextmanager
def none_left(pid: int) -> Iterator[None]:
    """Leave a process no descriptor but those it has, and of those none that it closes; it may end meanwhile."""
    soft, hard = _limits(pid)
    _limit(pid, _STANDARD, hard)
    try:
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            _limit(pid, soft, hard)


@contextmanager
def none_left_here() -> Iterator[None]:
    """Leave this process none but those it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_STANDARD, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _limits(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    soft, hard = next(line for line in lines if line.startswith("Max open files")).split()[3:5]
    return int(soft), int(hard)


def _limit(pid: int, soft: int, hard: int) -> None:
    """Set a process's limits, as the user who runs it: others' are not even root's everywhere."""
    owner = Path(f"/proc/{pid}").stat()
    as_owner = ["/usr/bin/setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    done = run([*as_owner, "/usr/bin/prlimit", f"--pid={pid}", f"--nofile={soft}:{hard}"])
    assert done.returncode == 0, done.stderr.decode()
