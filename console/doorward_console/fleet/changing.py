"""Adding and changing devices and relays. Each change is written into the history in its own transaction.

What a person may enter is checked here, for pages and API alike; what only the database can know for sure (two devices on
one relay and port) it says itself, and here it becomes a sentence.
"""

from django.db import IntegrityError, transaction
from django.utils import timezone
from doorward_protocol.reasons import reason_of

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.forwards import move_forwards
from doorward_console.fleet.joining import JoinRefused, make_join_line
from doorward_console.fleet.models import Device, Relay
from doorward_console.history.writing import note
from doorward_console.maintenance.models import Session
from doorward_console.people.members import Who
from doorward_console.people.models import Project


def add_device(project: Project, name: str, who: Who) -> Device:
    """Add a device that has yet to join; raises Declined when the name is empty or taken."""
    name = _checked_name(name)
    with transaction.atomic():
        if Device.objects.filter(project=project, name=name).exists():
            raise _name_taken(name)
        device: Device = Device.objects.create(project=project, name=name)
        note(project, "device.added", device=device.id, data={**who.named(), "name": name})
        ring("web")
    return device


def rename_device(device: Device, name: str, who: Who) -> None:
    """Give a device another name; raises Declined when it is empty or taken."""
    name = _checked_name(name)
    with transaction.atomic():
        if Device.objects.filter(project=device.project, name=name).exclude(pk=device.pk).exists():
            raise _name_taken(name)
        data = {**who.named(), "name": name, "was": device.name}
        device.name = name
        device.save(update_fields=["name"])
        note(device.project, "device.changed", device=device.id, data=data)
        ring("web")


def set_way(device: Device, relay: Relay | None, port: int | None, bind: str, who: Who) -> None:
    """Say through which relay and port a device is reached; raises Declined (see ``_check_way``)."""
    _check_way(device, relay, port, bind)
    try:
        with transaction.atomic():
            move_forwards(device, relay, port)
            device.relay, device.relay_port, device.bind = relay, port, bind
            device.save(update_fields=["relay", "relay_port", "bind"])
            way = {"relay": relay.name if relay else None, "port": port, "bind": bind}
            note(device.project, "device.changed", device=device.id, data={**who.named(), **way})
            ring("web")
    except IntegrityError:
        raise _port_taken(relay, port) from None


def _check_way(device: Device, relay: Relay | None, port: int | None, bind: str) -> None:
    """Refuse a way that cannot work: half of one, a strange port, one that another device has, or under a live door."""
    if bind not in Device.Bind.values:
        raise Declined("device.bind", f"{bind!r} is no place to listen.", 'Choose "*" or "localhost".')
    if (relay is None) != (port is None):
        raise Declined("device.half-way", "A relay and a port go together.", "Enter both, or neither.")
    if Session.objects.filter(device=device, state__in=Session.LIVE).exists():
        raise Declined(
            "device.door-live", "The device's door is not shut.", "Shut the door first, then change the way."
        )
    if relay is None or port is None:
        return
    if relay.kind == Relay.Kind.PLAIN and bind == Device.Bind.LOOPBACK:
        raise Declined(
            "device.bind-plain",
            f"{relay.name} is a plain relay: its loopback cannot be seen from here, so the door would never be green.",
            "Let it listen on its public address, or use a relay with doorward-relay.",
        )
    if not relay.low_port <= port <= relay.high_port:
        raise Declined(
            "device.port-range",
            f"The relay {relay.name} gives out the ports {relay.low_port} to {relay.high_port}; {port} is outside.",
            "Choose a port within that range.",
        )
    if Device.objects.filter(relay=relay, relay_port=port).exclude(pk=device.pk).exists():
        raise _port_taken(relay, port)


def _port_taken(relay: Relay | None, port: int | None) -> Declined:
    other = Device.objects.filter(relay=relay, relay_port=port).first()
    holder = f"the device {other.name}" if other else "another device"
    return Declined(
        "device.port-taken",
        f"Port {port} on the relay {relay} belongs to {holder} already.",
        "Choose another port: two devices cannot share one.",
    )


def remove_relay(relay: Relay, who: Who) -> None:
    """Take a relay out of use; raises Declined while devices have ports on it."""
    with transaction.atomic():
        count = Device.objects.filter(relay=relay).count()
        if count:
            raise Declined(
                "relay.in-use",
                f"{count} device{'s' if count > 1 else ''} still use{'' if count > 1 else 's'} the relay {relay.name}.",
                "Give them another relay first.",
            )
        relay.removed_at = timezone.now()
        relay.name = f"{relay.name[:70]} (removed {relay.id})"
        relay.save(update_fields=["removed_at", "name"])
        note(relay.project, "relay.removed", data={**who.named(), "relay": relay.id})
        ring("web", "worker")


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= 100:
        raise Declined("device.name", "A device has a name of 1 to 100 characters.", "Enter one.")
    return name


def _name_taken(name: str) -> Declined:
    return Declined("device.name-taken", f"Another device is called {name!r} already.", "Choose another name.")


def new_join_line(device: Device, who: Who) -> str:
    """Make the line with which a device joins; raises Declined when it cannot be made."""
    try:
        return make_join_line(device, who.user, who.from_address)
    except JoinRefused as refused:
        reason = reason_of(refused.code)
        raise Declined(refused.code, reason.meaning, reason.next) from refused
    except OSError as error:
        raise Declined(
            "join.no-certificate",
            f"The console cannot read its own TLS certificate ({error.strerror}), whose fingerprint belongs in the line.",
            "Look at tls_certificate in the console's configuration: doorward-console check",
        ) from error


def port_from_text(text: str) -> int | None:
    """Read a port as it was typed; None for nothing, raises Declined for what is no TCP port."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536):
        raise Declined("device.port", f"{text[:20]!r} is no TCP port.", "Enter a number from 1 to 65535.")
    return int(text)
