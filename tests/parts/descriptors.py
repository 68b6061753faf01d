"""Another process's sockets as they are at this moment, to be asked what was set on them."""

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PIDFD_GETFD: Final = 438
"""pidfd_getfd(2), the same number on every architecture; Linux 5.6, and the right to trace the process."""


@contextmanager
def tcp_sockets_of(pid: int) -> Iterator[list[socket.socket]]:
    """Give copies of the connected TCP sockets of a process; options that are read are those of its own."""
    there = os.pidfd_open(pid)
    found = [one for fd in Path(f"/proc/{pid}/fd").iterdir() for one in _sockets(there, fd)]
    try:
        yield [one for one in found if one.family in (socket.AF_INET, socket.AF_INET6) and _is_connected(one)]
    finally:
        os.close(there)
        for one in found:
            one.close()


def _sockets(process: int, fd: Path) -> list[socket.socket]:
    """Give a copy of a descriptor; none where it is no socket, or was closed meanwhile."""
    try:
        return [_copied(process, int(fd.name))] if str(fd.readlink()).startswith("socket:") else []
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EBADF):
            return []
        raise


def _copied(process: int, fd: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(_PIDFD_GETFD, process, fd, 0)
    if got < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=got)


def _is_connected(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return True
