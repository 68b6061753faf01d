"""How far a device gets towards an address without an SSH client: its name, its port, and who greets there."""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

_log = logging.getLogger(__name__)

CHECK_LIMIT_S: Final = 3.0

Address = tuple[int, int, int, str, Any]
"""What ``getaddrinfo`` gives: family, kind, protocol, name, address."""
Lookup = Callable[[str, int], Sequence[Address]]
"""Resolves a name, as ``resolved`` does."""


def reachability(addresses: Sequence[Address]) -> str:
    """Say as a reason code what stands between this device and an SSH server, where one was not met."""
    connection = connected(addresses, CHECK_LIMIT_S)
    if connection is None:
        return "tunnel.unreachable"
    with connection:
        return _greeting(connection)


def resolved(host: str, port: int) -> Sequence[Address]:
    """Look up a host's addresses; none where its name is unknown. Takes as long as the resolver does."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()


def connected(addresses: Sequence[Address], limit_s: float) -> socket.socket | None:
    """Connect to the first address that takes us; None where none does within ``limit_s`` in all, or no descriptor is left.

    Each has its share of the time that is left: one whose packets vanish (a device without real IPv6) keeps nobody from the next.
    """
    ends_at = time.monotonic() + limit_s
    for index, (family, kind, protocol, _name, address) in enumerate(addresses):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            _log.warning("not reached address=%s error=%s", address, error)
            continue
        connection.settimeout(max(0.1, (ends_at - time.monotonic()) / (len(addresses) - index)))
        failed = connection.connect_ex(address)
        if not failed:
            return connection
        connection.close()
        _log.warning("not reached address=%s error=%s", address, os.strerror(failed))
    return None


def _greeting(connection: socket.socket) -> str:
    """Say what is wrong with a port that accepts: an SSH server that greets now was too busy, or away, for the one before."""
    try:
        return "tunnel.lost" if connection.recv(4) == b"SSH-" else "tunnel.unreachable"
    except TimeoutError:
        return "tunnel.timeout"
    except OSError:
        return "tunnel.unreachable"
