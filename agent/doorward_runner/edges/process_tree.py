"""Processes as /proc tells of them (proc(5)): who descends from whom, who is still alive, and ending them all."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from doorward_runner.edges import files

_PR_SET_CHILD_SUBREAPER: Final = 36


class Identity(NamedTuple):
    """One process for good: its id may be another's tomorrow, its start time then differs."""

    pid: int
    started_ticks: int


def write_identity(path: Path, pid: int) -> None:
    """Note who ``pid`` is in the file at ``path``."""
    stat = _stat(pid)
    files.write(path, f"{pid} {stat[1] if stat else 0}\n", mode=0o600)


def read_identity(path: Path) -> Identity | None:
    """Read whom the file at ``path`` names; None where there is no such file."""
    words = (files.read(path) or "").split()
    return Identity(int(words[0]), int(words[1])) if len(words) == 2 else None


def is_alive(identity: Identity) -> bool:
    """Tell whether that very process still runs; one that only waits to be reaped does not."""
    stat = _stat(identity.pid)
    return stat is not None and stat[1] == identity.started_ticks and stat[2] not in "ZX"


def descendants(ancestor: int) -> set[int]:
    """Give everything that descends from ``ancestor``, zombies left out."""
    parents = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    found = {ancestor}
    grown = True
    while grown:
        more = {pid for pid, stat in parents.items() if stat[0] in found} - found
        found |= more
        grown = bool(more)
    return {pid for pid in found - {ancestor} if parents[pid][2] not in "ZX"}


def marked(mark: str) -> set[int]:
    """Give every process that carries ``mark`` in its command line or its environment, and their descendants.

    The door's sshd has its folder in its command line; what it starts has it in the environment (``sshd_config``).
    """
    wanted = mark.encode()
    carriers = {pid for pid in _pids() if wanted in _words(pid) and pid != os.getpid()}
    return carriers.union(*(descendants(pid) for pid in carriers))


def kill_until_none(find: Callable[[], Iterable[int]], within_s: float | None) -> bool:
    """Kill what ``find`` finds until it finds nothing; tell whether that was reached ``within_s`` (None: whatever it takes)."""
    give_up_at = None if within_s is None else time.monotonic() + within_s
    while found := set(find()):
        for pid in found:
            _kill(pid)
        reap()
        if give_up_at is not None and time.monotonic() > give_up_at:
            return False
        time.sleep(0.005)
    return True


def adopt_orphans() -> None:
    """Become whose child everything is that descends from us and loses its parent (prctl(2)); raises OSError."""
    import ctypes  # 10 ms that an opening where there are control groups does not need

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def has_children() -> bool:
    """Ask the kernel, which knows; a walk of /proc may miss whoever forks while it walks."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> None:
    """Take in every child that has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _stat(pid: int) -> tuple[int, int, str] | None:
    """Give parent, start time in clock ticks and state letter; the name in brackets may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    rest = text.rpartition(")")[2].split()
    return int(rest[1]), int(rest[19]), rest[0]


def _words(pid: int) -> bytes:
    try:
        folder = Path(f"/proc/{pid}")
        return (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
    except OSError:
        return b""
