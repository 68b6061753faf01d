"""The TCP connection to a relay, made by the agent and given to whoever dials over it.

A resolver can neither be hurried nor stopped: each dial has a thread for it, which holds up nobody's end.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from doorward_agent.contracts import Dial
from doorward_agent.edges.reachability import Address, Lookup, connected

MARGIN_S: Final = 0.5
"""So much sooner than a dial as a whole an address that swallows everything is given up: that is no relay's silence."""
MOST_THREADS: Final = 8
"""A dial a minute, and a resolver that never returns: what waits for it has to end somewhere."""
_NAME: Final = "connect"
_HEARD: Final = struct.Struct("=Q")
_HEARD_AT: Final = 128
"""struct tcp_info (linux/tcp.h): tcpi_bytes_received."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of connecting for a dial.

    Attributes:
        addresses: what the relay's name led to; none where it is unknown.
        link: the connection to the first of them that took us; None where none did.
    """

    dial: Dial
    addresses: Sequence[Address]
    link: socket.socket | None


def begin(dial: Dial, lookup: Lookup, limit_s: float, tell: Callable[[Reached], None]) -> None:
    """Connect for a dial on a thread of its own, and tell what came of it; raises RuntimeError where there are too many."""
    ends_at = time.monotonic() + limit_s - MARGIN_S

    def work() -> None:
        addresses = lookup(dial.route.host, dial.route.port)
        tell(Reached(dial, addresses, relay_link(addresses, ends_at - time.monotonic())))

    if sum(one.name == _NAME for one in threading.enumerate()) >= MOST_THREADS:
        raise RuntimeError("the resolver does not come back")
    threading.Thread(target=work, name=_NAME, daemon=True).start()


def relay_link(addresses: Sequence[Address], limit_s: float) -> socket.socket | None:
    """Connect for a dial: nothing waits for an acknowledgement, and a peer that has vanished is noticed; None where nobody takes us.

    ssh sets the one only behind the log-in, and the other only where it connects itself.
    """
    link = connected(addresses, limit_s)
    if link is not None:
        link.setblocking(True)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return link


def acknowledge(link: socket.socket) -> None:
    """Acknowledge at once what has come, which the kernel would keep for 40 ms; it forgets the option, so this is to be said again and again."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def bytes_heard(link: socket.socket) -> int:
    """Count what ever came over a connection, also one that is over; 0 where the kernel does not tell (Linux before 4.1)."""
    try:
        told = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEARD_AT + _HEARD.size)
        return int(_HEARD.unpack_from(told, _HEARD_AT)[0])
    except (OSError, struct.error):
        return 0
