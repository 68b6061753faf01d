"""How late an echo through a relay comes back, as somebody who types at a steady pace feels it.

Echoes are sent on a timetable, and lateness counts from the timetable: a relay that stands still for 50 ms is late for all
that should have gone out meanwhile, not for one.
"""

import socket
import time
from collections.abc import Sequence
from typing import Final

PACE_S: Final = 0.005
MESSAGE: Final = b"k" * 64


class Visitors:
    """Engineers in some of the sessions, one after the other."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._links = [self._visit(port) for port in ports]

    @staticmethod
    def _visit(port: int) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", port), timeout=30)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = link.recv(4096)
        assert said.endswith(b"\n"), f"port {port} said {said!r}"
        return link

    def p99_ms(self, seconds: float) -> float:
        """Send for so long and give the lateness that one of a hundred echoes exceeds."""
        late: list[float] = []
        began = time.monotonic()
        for n in range(round(seconds / PACE_S)):
            due = began + n * PACE_S
            time.sleep(max(0.0, due - time.monotonic()))
            self._echo(self._links[n % len(self._links)])
            late.append(time.monotonic() - due)
        return sorted(late)[len(late) * 99 // 100] * 1000

    @staticmethod
    def _echo(link: socket.socket) -> None:
        link.sendall(MESSAGE)
        got = 0
        while got < len(MESSAGE):
            got += len(link.recv(4096))

    def close(self) -> None:
        for link in self._links:
            link.close()
