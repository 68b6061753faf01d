"""What systemd does for a unit with ``Type=notify`` and ``WatchdogSec``: it hears the program; and a defect for it to notice."""

import ctypes
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.parts.processes import PLAIN_ENVIRONMENT, Program
from tests.parts.waiting import wait_until

LIMIT_S: Final = 1.0
"""After so long a silence systemd would kill the program and start the next."""
READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL: Final = 0x40000000
"""ptrace(2), waitpid(2)."""


class Init:
    """Where a program says how it is; ``address`` is a path, or a name of the abstract kind that begins with ``@``."""

    def __init__(self, address: str | Path) -> None:
        """Listen."""
        self.address = str(address)
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.address.replace("@", "\0", 1) if self.address.startswith("@") else self.address)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**PLAIN_ENVIRONMENT, "NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(LIMIT_S * 1e6))}

    def heard(self) -> list[str]:
        """Take in what was said by now; gives all of it since the start, line by line."""
        while self._is_told(0):
            self.said += self._socket.recv(4096).decode().splitlines()
        return self.said

    def is_silent(self, for_s: float) -> bool:
        """Tell whether nothing more is said in so long."""
        self.heard()
        return not self._is_told(for_s)

    def _is_told(self, limit_s: float) -> bool:
        return bool(select.select([self._socket], [], [], limit_s)[0])

    def wait_for(self, program: Program, word: str, times: int = 1, limit_s: float = 30) -> None:
        program.wait_for(lambda: self.heard().count(word) >= times, limit_s, f"{times} times {word}")

    def close(self) -> None:
        self._socket.close()


@contextmanager
def frozen_thread(tid: int) -> Iterator[None]:
    """Hold one thread where it is, as a lock that never comes would; the others of its program go on."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes, ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
    for request in (_SEIZE, _INTERRUPT):
        if ptrace(request, tid, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(tid, _WALL)
    try:
        yield
    finally:
        ptrace(_DETACH, tid, 0, 0)


def must_obey_a_watchdog(init: Init, program: Program, is_serving: Callable[[], bool]) -> None:
    """Fail unless a program that was just started says what it has to, and nothing while its main thread hangs."""
    init.wait_for(program, READY)
    assert is_serving(), "it said so before it did"
    init.wait_for(program, ALIVE, 3, 4 * LIMIT_S)
    with frozen_thread(program.pid):
        assert init.is_silent(3 * LIMIT_S), init.heard()
    init.wait_for(program, ALIVE, init.heard().count(ALIVE) + 1, 10 * LIMIT_S)
    assert program.end(20) == 0, program.log_text()[-2000:]
    wait_until(lambda: init.heard()[-1] == STOPPING, 2, f"the last word, not {init.heard()[-3:]}")
    assert init.heard().count(READY) == 1
