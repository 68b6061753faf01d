"""Free TCP ports on loopback.

All lie below those that the kernel gives to whoever asks for any (ip_local_port_range), so that no connection made in
between takes one, and in a lane that no other process of the same run looks in. What is named is not named again until
the lane has been gone through: a port that is found now may be listened at minutes later.
"""

import os
import secrets
import socket
from typing import Final

_LANE: Final = 2_000
_LANES: Final = 10
_FIRST: Final = 10_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
_lane: Final = range(_FIRST + _worker * _LANE, _FIRST + (_worker + 1) * _LANE)
_at = secrets.randbelow(_LANE)


def free_port(host: str = "127.0.0.1") -> int:
    """Name a TCP port on which nobody listens right now."""
    return neighbours(1, host).start


def free_ports(count: int) -> list[int]:
    """Name ``count`` different free ports."""
    return [free_port() for _ in range(count)]


def neighbours(count: int, host: str = "127.0.0.1") -> range:
    """Name ``count`` free ports in a row, at most 100; each call gives others, until the lane has been gone through."""
    global _at  # noqa: PLW0603  one lane for the whole process
    while True:
        start = _at if _at + count <= _LANE else 0
        _at = start + count
        found = _lane[start:_at]
        if all(_can_be_bound(port, host) for port in found):
            return found


def _can_be_bound(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a TCP connection to ``host`` and ``port`` is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def taken(port: int) -> socket.socket:
    """Listen on a port for IPv4 and IPv6: sshd grants a forward when either is free."""
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
