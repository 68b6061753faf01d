"""The first open door: the four steps from an empty project to a green toggle, which are done, and which is next.

Nothing of it is stored: each step is done when what it makes is there, and undone when that is taken away. Once a door of
the project has been open there are no steps any more. ``steps_from`` decides and looks nothing up; ``first_door`` looks.
"""

from dataclasses import dataclass

from django.urls import reverse

from doorward_console.fleet.models import Device, Relay
from doorward_console.keys.pairs import live_pair
from doorward_console.maintenance.models import Session
from doorward_console.pages.access import Place, holders_of
from doorward_console.people.rights import Right, may


@dataclass(frozen=True, slots=True)
class Known:
    """What a project has; ``device`` is the one that is furthest on its way, None when there is none."""

    has_relay: bool
    has_pair: bool
    device: Device | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: relay, keys, device or on.
        says: what it is for, or what is still missing of it.
        action: what the link to it is called.
        anchor: the part of its page where it is done.
    """

    name: str
    title: str
    says: str
    action: str
    right: Right
    is_done: bool
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class FirstDoor:
    """The steps as one person sees them.

    Attributes:
        next: the first that is not done.
        address: where that one is done.
        holders: who may do it, where this person may not; else empty.
    """

    steps: tuple[Step, ...]
    next: Step
    address: str
    holders: str

    @property
    def number(self) -> int:
        """Count the next step from 1."""
        return self.steps.index(self.next) + 1


def steps_from(known: Known) -> tuple[Step, ...]:
    """Say how far a project is; turning on is never done here, for with it the steps end."""
    return (
        Step("relay", "Add a relay", "The machine in the middle: devices dial to it, engineers log in through it.",
             "Add a relay", Right.MANAGE_RELAYS, known.has_relay, "pair"),
        Step("keys", "Make the key pair", "With its private half engineers log in. It is shown once: be ready to save it.",
             "Make the key pair", Right.MAKE_KEYS, known.has_pair),
        _device_step(known.device),
        _on_step(known.device),
    )  # fmt: skip


def _device_step(device: Device | None) -> Step:
    if device is None:
        said, action, anchor = "The machine to be mended. It dials out; nothing on it listens to the world.", "", ""
    elif not _has_way(device):
        said, action, anchor = f"{device.name} has no relay and port yet.", "Enter relay and port", "way"
    elif device.state == Device.State.ADDED:
        said, action, anchor = f"{device.name} waits for its join line, which you carry to it.", "Join it", "joining"
    else:
        said, action, anchor = f"{device.name} has joined.", "", ""
    is_done = device is not None and _is_ready(device)
    return Step("device", "Add a device", said, action or "Add a device", Right.MANAGE_DEVICES, is_done, anchor)


def _on_step(device: Device | None) -> Step:
    whose = f"{device.name}'s" if device else "the device's"
    said = f"Flip the switch on {whose} page. It turns green when an engineer can log in, and not before."
    return Step("on", "Turn it on", said, "To the switch", Right.TOGGLE, is_done=False, anchor="door-live")


def _has_way(device: Device) -> bool:
    return device.relay_id is not None and device.relay_port is not None


def _is_ready(device: Device) -> bool:
    return device.state == Device.State.JOINED and _has_way(device)


def first_door(place: Place) -> FirstDoor | None:
    """Give the steps as ``place``'s person sees them; None once a door of the project has been open."""
    if Session.objects.filter(project=place.project, opened_at__isnull=False).exists():
        return None
    known = _known_of(place)
    steps = steps_from(known)
    following = next(step for step in steps if not step.is_done)
    holders = "" if may(place.member.role, following.right) else holders_of(following.right)
    return FirstDoor(steps, following, _address(place, following, known.device), holders)


def _known_of(place: Place) -> Known:
    """Look at what is there; of several devices that one counts which needs least."""
    devices = Device.objects.filter(project=place.project, removed_at__isnull=True)
    usable = sorted(
        devices.exclude(state=Device.State.BLOCKED).order_by("added_at"),
        key=lambda device: (not _is_ready(device), device.state != Device.State.JOINED, not _has_way(device)),
    )
    return Known(
        has_relay=Relay.objects.filter(project=place.project, removed_at__isnull=True).exists(),
        has_pair=live_pair(place.project) is not None,
        device=usable[0] if usable else None,
    )


def _address(place: Place, step: Step, device: Device | None) -> str:
    project = place.project.id
    if step.name in {"device", "on"} and device is not None:
        page = reverse("device", args=(project, device.id))
    else:
        page = reverse({"relay": "relays", "keys": "keys"}.get(step.name, "devices"), args=(project,))
    return f"{page}#{step.anchor}" if step.anchor else page
