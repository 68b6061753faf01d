"""What stands in ``relay-server-<id>.key``: one line with the tunnel CA, admitting tunnels to the ports named and nowhere else."""

from collections.abc import Sequence
from typing import Final

from doorward_console.declined import Declined
from doorward_console.fleet.models import Device
from doorward_console.fleet.ssh_lines import relay_server_line
from doorward_console.keys.models import Key
from doorward_console.keys.pairs import public_of
from doorward_console.people.models import Project

_FIRST_PORTS: Final = tuple(range(22001, 22011))
"""Offered while no device has a port: ten, outside of what Linux gives to outgoing connections (ip_local_port_range)."""
_MOST_PORTS: Final = 500
"""sshd reads authorized_keys lines of up to 8 KiB for options; each port takes about 22 bytes (sshd(8))."""


def usual_ports(project: Project) -> tuple[int, ...]:
    """Give the ports of the project's devices, or ten to begin with."""
    taken = Device.objects.filter(project=project, relay_port__isnull=False).values_list("relay_port", flat=True)
    return tuple(sorted({port for port in taken if port is not None})) or _FIRST_PORTS


def relay_file_of(project: Project, ports: Sequence[int]) -> str:
    """Write the line; raises Declined while the signer has not made the project's tunnel CA."""
    tunnel_ca = public_of(project, Key.Kind.TUNNEL_CA)
    if tunnel_ca is None:
        raise Declined(
            "keys.no-ca",
            "The project has no tunnel CA yet; the signer makes it.",
            "Start it, and try again: doorward-console signer",
        )
    return relay_server_line(project.id, ports, tunnel_ca)


def ports_from_text(text: str) -> tuple[int, ...]:
    """Read ports and ranges as they are typed (``22001-22010, 22050``); raises Declined for anything else."""
    ports: set[int] = set()
    for part in text.replace(",", " ").split():
        low, dash, high = part.partition("-")
        if not _is_port(low) or (dash and not _is_port(high)):
            raise _not_ports(part)
        ports.update(range(int(low), int(high or low) + 1))
    if not 0 < len(ports) <= _MOST_PORTS:
        raise Declined("keys.ports", f"The relay's line names 1 to {_MOST_PORTS} ports.", "Enter such as 22001-22010.")
    return tuple(sorted(ports))


def text_from_ports(ports: Sequence[int]) -> str:
    """Write ports as people type them, neighbours as ranges."""
    parts: list[list[int]] = []
    for port in ports:
        if parts and parts[-1][-1] == port - 1:
            parts[-1].append(port)
        else:
            parts.append([port])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536


def _not_ports(part: str) -> Declined:
    return Declined("keys.ports", f"{part[:20]!r} is neither a port nor a range.", "Enter such as 22001-22010, 22050.")
