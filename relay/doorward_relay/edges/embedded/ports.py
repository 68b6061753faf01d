"""TCP ports of the embedded relay: listen on them, and see whether somebody else does."""

import errno
import socket
from typing import Final

BACKLOG: Final = 1024
"""Hundreds of devices dial at once after an outage; the kernel's own ceiling (somaxconn) applies."""
_FAMILIES: Final = {
    "*": ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")),  # noqa: S104 - what a grant for everywhere means
    "localhost": ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")),
}


def bound(bind: str, port: int) -> list[socket.socket]:
    """Bind a port on ``*``, ``localhost`` or one address, in both address families where there are both.

    Raises:
        OSError: somebody has the port, or none of the addresses is to be had.
    """
    places = _FAMILIES.get(bind) or ((socket.AF_INET6 if ":" in bind else socket.AF_INET, bind),)
    tried = [_tried(family, address, port) for family, address in places]
    made = [one for one in tried if not isinstance(one, OSError)]
    refused = [one for one in tried if isinstance(one, OSError)]
    if not made or any(one.errno == errno.EADDRINUSE for one in refused):
        close(made)
        raise refused[0]
    return made  # a machine without IPv6 refuses that with another error


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port on any address: asked by binding it for an instant."""
    try:
        close(bound("*", port))
    except OSError:
        return False
    return True


def close(sockets: list[socket.socket]) -> None:
    """Close sockets that nobody serves."""
    for one in sockets:
        one.close()


def _tried(family: socket.AddressFamily, address: str, port: int) -> socket.socket | OSError:
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError as error:
        made.close()
        return error
    return made
