"""How a device's settings stand, in words: what is wanted, whether it is in force, and what the device says since."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from doorward_protocol.reasons import Reason, reason_of
from doorward_protocol.sealed import SET, is_sealed

from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.maintenance.documents.paths import leaves
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.documents.wanted import Wanted, wanted_of
from doorward_console.maintenance.models import Intent

STATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "applying": ("Being applied", "opening", "The device puts them in force, on trial."),
    "trying": ("On trial", "opening", "In force on the device, until it has rehearsed and they are confirmed; else it puts the old ones back by itself."),
    "reverting": ("Being put back", "closing", "The device puts its old settings back."),
    "reverted": ("Put back", "failed", "The device has its old settings. It does not try these again by itself: ask anew."),
    "failed": ("Not put back", "failed", "The device could not put its old settings back."),
}  # fmt: skip
"""What a device says of settings that are not in force for good: word, tone, and what it means."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place in the document: what is wanted there, and what the device says."""

    path: str
    wanted: Any
    said: Any
    is_said: bool

    @property
    def is_same(self) -> bool:
        return self.is_said and bool(self.wanted == self.said or (is_sealed(self.wanted) and self.said == SET))


@dataclass(frozen=True, slots=True)
class Standing:
    """How settings stand.

    Attributes:
        word, tone, sentence: the state, its colour and shape, and what it means.
        by, at: who asked last, and when; empty where nobody did.
        places: what is wanted beside what the device said; empty before it said anything.
    """

    wanted: Wanted
    read: SettingsRead | None
    word: str
    tone: str
    sentence: str
    reason: Reason | None
    by: str
    at: datetime | None
    places: tuple[Place, ...]


def standing_of(device: Device) -> Standing:
    """Say how a device's settings stand."""
    wanted, read = wanted_of(device), read_from(device)
    asked = Intent.objects.filter(device=device, kind=Intent.Kind.SETTINGS).order_by("-pk").first()
    is_refused = asked is not None and asked.state == Intent.State.REFUSED
    code = asked.code if is_refused else _code(device, wanted)
    word, tone, sentence = ("Refused", "failed", "Nobody told the device.") if is_refused else _state(device, wanted)
    return Standing(
        wanted, read, word, tone, sentence, reason_of(code) if code else None,
        asked.by_name if asked else "", asked.at if asked else None, _places(wanted, read),
    )  # fmt: skip


def _is_taken(device: Device, wanted: Wanted) -> bool:
    return wanted.desired is not None and wanted.desired.digest == device.settings_digest


def _code(device: Device, wanted: Wanted) -> str:
    return (device.settings_code or "") if _is_taken(device, wanted) else ""


def _state(device: Device, wanted: Wanted) -> tuple[str, str, str]:
    if wanted.is_waiting:
        return "Asked", "opening", "They are about to be signed."
    if wanted.desired is None:
        return "As it is", "shut", "Nobody has asked for anything else yet."
    if not _is_taken(device, wanted):
        when = (
            "The device is about to take them."
            if device.presence == "connected"
            else "The device is away, and takes them when it is back."
        )
        return "Waiting", "opening", when
    return STATES.get(device.settings_state, ("In force", "open", "The device has these settings, and keeps them."))


def _places(wanted: Wanted, read: SettingsRead | None) -> tuple[Place, ...]:
    if read is None:
        return ()
    said = leaves(read.values)
    every = leaves(wanted.values) if wanted.mark != "none" else {}
    return tuple(Place(path, value, said.get(path), path in said) for path, value in sorted(every.items()))
