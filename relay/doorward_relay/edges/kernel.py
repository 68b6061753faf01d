"""The kernel's own word on sockets and processes, from ``sock_diag`` and /proc (proc(5)); and ending a process surely.

Decides nothing: ``view`` says what the tables mean.
"""

import errno
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from doorward_relay.contracts import KernelUnread
from doorward_relay.edges import sock_diag
from doorward_relay.view import Process, Socket, sockets_from_table

_PROC: Final = Path("/proc")
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def sockets() -> tuple[Socket, ...]:
    """Give the TCP sockets of this network namespace that listen or are connected; raises KernelUnread."""
    told = sock_diag.sockets()
    return sockets_in_proc() if told is None else told


def sockets_in_proc() -> tuple[Socket, ...]:
    """Read them from /proc, which takes thirty times as long; raises KernelUnread."""
    found: list[Socket] = []
    for table in _TABLES:
        with suppress(FileNotFoundError), _asking():  # a kernel without IPv6
            found.extend(sockets_from_table(table.read_text()))
    return tuple(found)


def processes_of(uid: int) -> tuple[Process, ...]:
    """Read the processes of one user, with the sockets that they hold; raises KernelUnread."""
    with _asking():
        found = (_process(pid) for pid in _pids() if _uid(pid) == uid)
        return tuple(one for one in found if one is not None)


def holders_of(inodes: Iterable[int]) -> tuple[str, ...]:
    """Name the processes that hold a socket, whoever's they are, as ``name (pid)``: for people."""
    wanted = frozenset(inodes)
    return tuple(f"{_name(pid)} ({pid})" for pid in _pids() if wanted & _inodes(pid))


def ancestors_of(pid: int) -> Iterator[int]:
    """Give a process, its parent, and so on up to init."""
    while pid > 1:
        yield pid
        fields = _stat(pid)
        if fields is None:
            return
        pid = int(fields[1])


def started_at(pid: int) -> int | None:
    """Give a process's start in clock ticks since boot, or None when it is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def is_sshd(pid: int) -> bool:
    """Tell whether a process is OpenSSH's server (its sessions are ``sshd-session`` from OpenSSH 9.8 on)."""
    return _name(pid).startswith("sshd")


def end(pid: int, started: int) -> bool:
    """Kill the one process that has this pid *and* this start; False when it is gone already.

    The handle is taken before the start is compared, so a pid that was given to somebody else is never hit.
    """
    try:
        handle = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return False
    try:
        if started_at(pid) != started:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _nothing(error: OSError) -> None:
    """Take what is gone, or not ours to see, for nothing; what only we lack is another matter."""
    if error.errno in _SHORT:
        raise KernelUnread(error.strerror) from error


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _nothing(error)
        raise


def _text(pid: int, name: str) -> str:
    """Read one file of a process; empty where that is gone."""
    try:
        return (_PROC / str(pid) / name).read_text()
    except OSError as error:
        _nothing(error)
        return ""


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdecimal())


def _process(pid: int) -> Process | None:
    fields = _stat(pid)
    return None if fields is None else Process(pid, int(fields[1]), int(fields[19]), _inodes(pid))


def _stat(pid: int) -> list[str] | None:
    """Read /proc/PID/stat from its third field on; the second may hold anything, also spaces and brackets."""
    return _text(pid, "stat").rpartition(")")[2].split() or None


def _name(pid: int) -> str:
    with suppress(OSError):
        return (_PROC / str(pid) / "comm").read_text().strip()
    return "?"


def _uid(pid: int) -> int | None:
    """Read the real uid; the folder's owner would be root's for what changed its user, as sshd does."""
    lines = _text(pid, "status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), None)


def _inodes(pid: int) -> frozenset[int]:
    found = set()
    try:
        for entry in os.scandir(_PROC / str(pid) / "fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 - thousands of times, as text
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    except OSError as error:
        _nothing(error)
    return frozenset(found)
