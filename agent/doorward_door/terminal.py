"""A pseudo-terminal (pty(7)): asked for by the client, opened when something starts at it, its size changed at any time."""

import fcntl
import os
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowSize:
    """In characters and pixels, as RFC 4254 §6.2 has them."""

    columns: int
    rows: int
    width: int
    height: int

    def packed(self) -> bytes:
        """Give it as the kernel takes it (ioctl_tty(2)), whatever number a client sent."""
        return struct.pack("4H", *(min(each, 0xFFFF) for each in (self.rows, self.columns, self.width, self.height)))


class Terminal:
    """One terminal; ``master`` is ours once it is opened, and -1 before and after."""

    def __init__(self, term: str, size: WindowSize) -> None:
        self.master = -1
        self._term = term
        self._size = size
        self._name = ""

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open it and give the process's side, which is ours only until the process has it; raises OSError."""
        self.master, slave = os.openpty()
        try:
            self._name = os.ttyname(slave)
            self.resize(self._size)
            yield slave
        except BaseException:
            self.close()
            raise
        finally:
            os.close(slave)

    def controlling(self, slave: int) -> Callable[[], None]:
        """Give what a new session's leader calls to have it as its controlling terminal."""

        def take() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        return take

    def resize(self, size: WindowSize) -> bool:
        """Set its size; the kernel tells the programs at it (SIGWINCH)."""
        self._size = size
        if self.master >= 0:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size.packed())
        return True

    def variables(self) -> dict[str, str]:
        return {"TERM": self._term or "dumb"}

    def close(self) -> None:
        """Close our side: the kernel hangs up on everything at it."""
        master, self.master = self.master, -1
        if master >= 0:
            os.close(master)
