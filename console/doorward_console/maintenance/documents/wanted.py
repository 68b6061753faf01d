"""Which settings are wanted of a device: what was asked for last, decided or not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorward_console.fleet.models import Device
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.models import Desired, Intent


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for last.

    Attributes:
        mark: changes whenever something else was asked for; a form or program names the one that it began with.
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
        return Wanted(waiting.values or {}, f"asked-{waiting.pk}", is_waiting=True)
    desired = Desired.objects.filter(device=device, part="settings").first()
    if desired is None:
        return Wanted({}, "none")
    return Wanted(json.loads(desired.body)["values"], f"{desired.epoch}.{desired.revision}", desired=desired)


def starting_values(device: Device, wanted: Wanted) -> Mapping[str, Any]:
    """Give what a change begins with: what is wanted, and before anything was, what the device says of itself."""
    if wanted.mark != "none":
        return wanted.values
    read = read_from(device)
    return {} if read is None else read.values
