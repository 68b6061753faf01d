"""The TCP connection to a relay, made by the agent and given to whoever dials over it.

A resolver can neither be hurried nor stopped: each dial has a thread for it, which holds up nobody's end.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from doorward_agent.contracts import Dial
from doorward_agent.edges.reachability import Address, Lookup, connected


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of connecting for a dial.

    Attributes:
        link: None where ``code`` says how far it came.
    """

    dial: Dial
    link: socket.socket | None
    code: str | None


def begin(dial: Dial, lookup: Lookup, limit_s: float, tell: Callable[[Reached], None]) -> None:
    """Connect for a dial on a thread of its own, and tell what came of it; raises RuntimeError where no thread is left."""

    def work() -> None:
        addresses = lookup(dial.route.host, dial.route.port)
        link = relay_link(addresses, limit_s)
        tell(Reached(dial, link, _code(addresses, link)))

    threading.Thread(target=work, name="connect", daemon=True).start()


def _code(addresses: Sequence[Address], link: socket.socket | None) -> str | None:
    if link is not None:
        return None
    return "tunnel.unreachable" if addresses else "tunnel.unresolved"


def relay_link(addresses: Sequence[Address], limit_s: float) -> socket.socket | None:
    """Connect for a dial: nothing waits for an acknowledgement, and a peer that has vanished is noticed; None where nobody takes us.

    ssh sets neither for a connection without a session: what it says in two pieces, a keystroke's echo say, would wait 40 ms.
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
