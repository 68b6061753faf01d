"""Free TCP ports on loopback.

A port that was free a moment ago may be taken when it is used; so far as the kernel's choice of ephemeral ports goes
that is rare, and a program that cannot bind says so in its log.
"""

import socket


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


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a TCP connection to ``host`` and ``port`` is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
