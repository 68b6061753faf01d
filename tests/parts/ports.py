"""Free TCP ports on loopback.

A port that was free a moment ago may be taken when it is used; so far as the kernel's choice of ephemeral ports goes
that is rare, and a program that cannot bind says so in its log. Ports that a relay is to give away are looked for below
those, and in a lane that no other process of the same run looks in: a relay refuses a port where anybody listens.
"""

import os
import secrets
import socket
from typing import Final

_LANE: Final = 1_000
_LANES: Final = 10
_FIRST: Final = 10_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
_lane: Final = range(_FIRST + _worker * _LANE, _FIRST + (_worker + 1) * _LANE)
_next = secrets.randbelow(_LANE)


def free_port(host: str = "127.0.0.1") -> int:
    """Name a TCP port on which nobody listens right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Name ``count`` different free ports: all are held until the last is found."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def neighbours(count: int) -> range:
    """Name ``count`` free ports in a row, at most 100; each call gives others, until the lane has been gone through."""
    global _next  # noqa: PLW0603  one lane for the whole process
    while True:
        start = _lane.start + _next % (_LANE - count)
        _next += count
        found = range(start, start + count)
        if not any(is_listening(port) for port in found):
            return found


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a TCP connection to ``host`` and ``port`` is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
