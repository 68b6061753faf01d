"""What stands in ``relay-server-<id>.key``: one line with the tunnel CA, admitting tunnels to the ports named and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils import timezone

from doorward_console.declined import Declined
from doorward_console.fleet.models import Device, Relay, RelayLine
from doorward_console.fleet.ssh_lines import relay_server_line
from doorward_console.keys.models import Key
from doorward_console.keys.pairs import public_of
from doorward_console.people.models import Project

_FIRST_PORTS: Final = tuple(range(22001, 22011))
"""Offered while no device has a port: ten, outside of what Linux gives to outgoing connections (ip_local_port_range)."""
_MOST_PORTS: Final = 500
"""sshd reads authorized_keys lines of up to 8 KiB for options; each port takes about 22 bytes (sshd(8))."""


@dataclass(frozen=True, slots=True)
class NewPort:
    """A port that a plain relay's line does not name yet, and whose it is."""

    port: int
    device: Device


def usual_ports(project: Project) -> tuple[int, ...]:
    """Give the ports handed out last and those of devices at plain relays, or ten to begin with."""
    held = last_line(project)
    needed = {port for one in _at_plain_relays(project) for port in _ports_of(one)}
    return tuple(sorted(needed.union(held.ports if held else ()))) or _FIRST_PORTS


def last_line(project: Project) -> RelayLine | None:
    """Say when the line was last handed out, and with which ports."""
    found: RelayLine | None = RelayLine.objects.filter(project=project).first()
    return found


def new_since(project: Project) -> list[NewPort]:
    """List the ports at plain relays that are not in the line that was handed out last, each with whose it is."""
    held = last_line(project)
    known = set(held.ports) if held else set()
    return [NewPort(port, one) for one in _at_plain_relays(project) for port in _ports_of(one) if port not in known]


def _ports_of(device: Device) -> list[int]:
    """Give the ports that a device needs of its relay: its door's, and its forwards'."""
    own = [] if device.relay_port is None else [device.relay_port]
    return [*own, *(one.port for one in device.forwards.all())]


def _at_plain_relays(project: Project) -> list[Device]:
    found = Device.objects.filter(project=project, relay__kind=Relay.Kind.PLAIN, relay_port__isnull=False)
    return list(found.select_related("relay").prefetch_related("forwards").order_by("relay__name", "relay_port"))


def hand_out(project: Project, ports: Sequence[int]) -> str:
    """Write the line and remember its ports; raises Declined like ``relay_file_of``."""
    line = relay_file_of(project, ports)
    RelayLine.objects.update_or_create(project=project, defaults={"ports": list(ports), "at": timezone.now()})
    return line


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
