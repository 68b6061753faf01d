"""Giving a device's named forwards ports on its relay, and taking them away. Each change is written into the history.

A forward's target is never typed here: it is what the device itself offers, so that nobody at the console can lead anywhere that the
device's own configuration does not. A port of a relay has one holder, a door or a forward; whoever gives one out holds the relay's row.
"""

from dataclasses import dataclass

from django.db import transaction
from doorward_protocol.targets import MOST_NAMED

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Forward, Relay
from doorward_console.history.writing import note
from doorward_console.people.members import Who


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a forward shall be reached; ``is_usual`` where it goes with each opening."""

    port: int
    bind: str = Device.Bind.LOOPBACK
    is_usual: bool = True


def set_forward(device: Device, name: str, wanted: Wanted, who: Who) -> Forward:
    """Give one of the forwards that a device offers a port, or change it; takes effect with the next opening.

    Raises:
        Declined: the device does not offer it, has no relay, or has too many; a port out of range or another's.
    """
    target = (device.offered or {}).get(name)
    if target is None:
        raise Declined(
            "forward.unknown",
            f"The device offers no forward {name[:40]!r}.",
            "Add it under [forwards] in the device's agent.toml and restart the agent.",
        )
    if wanted.bind not in Device.Bind.values:
        raise Declined("device.bind", f"{wanted.bind!r} is no place to listen.", 'Choose "*" or "localhost".')
    if device.relay is None:
        raise Declined("signer.no-relay", "The device has no relay yet.", "Enter a relay and a port first.")
    with transaction.atomic():
        relay = Relay.objects.select_for_update(no_key=True).get(pk=device.relay_id)
        if device.forwards.exclude(name=name).count() >= MOST_NAMED:
            raise Declined(
                "forward.too-many", f"A device has at most {MOST_NAMED} forwards.", "Take one away that is not needed."
            )
        _check_port(relay, wanted.port, device, name)
        values = {
            "relay": relay,
            "target": target,
            "port": wanted.port,
            "bind": wanted.bind,
            "is_usual": wanted.is_usual,
        }
        made: Forward
        made, _ = Forward.objects.update_or_create(device=device, name=name, defaults=values)
        said = {"name": name, "target": target, "port": wanted.port, "bind": wanted.bind, "is_usual": wanted.is_usual}
        note(device.project, "forward.set", device=device.pk, data={**who.named(), **said})
        ring("web")
    return made


def remove_forward(device: Device, name: str, who: Who) -> None:
    """Take a forward away; a session that has it keeps it until its end. Nothing happens where there is none."""
    with transaction.atomic():
        found = device.forwards.filter(name=name)
        for one in found:
            said = {"name": name, "target": one.target, "port": one.port}
            note(device.project, "forward.removed", device=device.pk, data={**who.named(), **said})
        found.delete()
        ring("web")


def move_forwards(device: Device, relay: Relay | None, port: int | None) -> None:
    """Let a device's forwards go with it to another relay, whose row is held from here on; part of the caller's transaction.

    Raises:
        Declined: one of the ports, the door's own among them, is another's there.
    """
    if relay is not None:
        Relay.objects.select_for_update(no_key=True).get(pk=relay.pk)
    own = list(device.forwards.all())
    if relay is not None and port is not None:
        holder = Forward.objects.filter(relay=relay, port=port).exclude(device=device).first()
        holder = holder or next((one for one in own if one.port == port), None)
        if holder is not None:
            raise _taken(relay, port, f"the forward {holder.name} of {holder.device.name}")
    for one in own:
        if relay is not None:
            _check_port(relay, one.port, device, one.name)
        one.relay = relay
        one.save(update_fields=["relay"])


def _check_port(relay: Relay, port: int, device: Device, name: str) -> None:
    """Refuse a port that the relay does not give out, or that a door or another forward has there."""
    if not relay.low_port <= port <= relay.high_port:
        raise Declined(
            "device.port-range",
            f"The relay {relay.name} gives out the ports {relay.low_port} to {relay.high_port}; {port} is outside.",
            f"Choose a port within that range for the forward {name}.",
        )
    door = Device.objects.filter(relay=relay, relay_port=port).exclude(pk=device.pk).first()
    if door is None and device.relay_id == relay.pk and device.relay_port == port:
        door = device
    other = Forward.objects.filter(relay=relay, port=port).exclude(device=device, name=name).first()
    if door is not None:
        raise _taken(relay, port, f"the door of {door.name}")
    if other is not None:
        raise _taken(relay, port, f"the forward {other.name} of {other.device.name}")


def _taken(relay: Relay, port: int, holder: str) -> Declined:
    return Declined(
        "device.port-taken",
        f"Port {port} on the relay {relay.name} belongs to {holder} already.",
        "Choose another port: a port leads to one thing.",
    )
