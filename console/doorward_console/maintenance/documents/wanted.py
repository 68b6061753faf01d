"""Which settings are wanted of a device: what was asked for last, decided or not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.crypto import salted_hmac

from doorward_console.fleet.models import Device
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.models import Desired, Intent


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for last.

    Attributes:
        mark: of the document, so that deciding about it changes nothing; a form or program names the one that it began with.
        is_waiting: nobody has decided about it yet.
        desired: what the device is told; None where nothing is yet, or something newer waits.
    """

    values: Mapping[str, Any]
    mark: str
    is_waiting: bool = False
    desired: Desired | None = None


def wanted_of(device: Device) -> Wanted:
    """Give what is wanted; an empty document before anybody asked for anything."""
    waiting = Intent.objects.filter(device=device, kind=Intent.Kind.SETTINGS, state=Intent.State.ASKED).last()
    if waiting is not None:
        values = waiting.values or {}
        return Wanted(values, _mark_of(values), is_waiting=True)
    desired = Desired.objects.filter(device=device, part="settings").first()
    if desired is None:
        return Wanted({}, "none")
    values = json.loads(desired.body)["values"]
    return Wanted(values, _mark_of(values), desired=desired)


def _mark_of(values: Mapping[str, Any]) -> str:
    """Give a digest that only a console can compute: from another, what a viewer is not shown could be guessed."""
    mark: str = salted_hmac("settings", json.dumps(values, sort_keys=True), algorithm="sha256").hexdigest()
    return mark[:24]


def starting_values(device: Device, wanted: Wanted) -> Mapping[str, Any]:
    """Give what a change begins with: what is wanted, and before anything was, what the device says of itself."""
    if wanted.mark != "none":
        return wanted.values
    read = read_from(device)
    return {} if read is None else read.values
