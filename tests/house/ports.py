"""TCP ports of a house, and what answers on one of them."""

import socket
from dataclasses import dataclass

from tests.parts.ports import free_ports, neighbours


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the house's services, and on the relay two for doors and two for named forwards."""

    web: int
    broker: int
    relay_ssh: int
    relay_control: int
    door: int
    other_door: int
    named: tuple[int, int]


def some_ports() -> Ports:
    """Choose free ports; those of the relay to give away are neighbours below those that the kernel gives to others."""
    web, broker, relay_ssh, relay_control = free_ports(4)
    door, other_door, *named = neighbours(4)
    return Ports(web, broker, relay_ssh, relay_control, door, other_door, (named[0], named[1]))


def read_banner(host: str, port: int) -> str:
    """Read a door's first line, or nothing where nobody answers or somebody else does."""
    try:
        with socket.create_connection((host, port), timeout=1) as link:
            link.settimeout(1)
            said = link.recv(255).decode(errors="replace")
    except OSError:
        return ""
    return said if "doorward-" in said else ""
