"""A device's settings over the API: what is wanted, what the device reports, and whether they are the same."""

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from doorward_console.api.caller import device_place
from doorward_console.api.shapes.devices import SettingsIn, SettingsOut
from doorward_console.fleet.models import Device
from doorward_console.maintenance.documents import asking
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.documents.secrecy import shown
from doorward_console.maintenance.documents.wanted import wanted_of
from doorward_console.people.rights import Right

router = Router(tags=["devices"])


@router.get("/devices/{device_id}/settings", response=SettingsOut)
def see_settings(request: HttpRequest, device_id: str) -> dict[str, Any]:
    """Give the settings that are wanted and those that the device last reported."""
    return _document(device_place(request, device_id)[1])


@router.put("/devices/{device_id}/settings", response={202: SettingsOut})
def ask_settings(request: HttpRequest, device_id: str, asked: SettingsIn) -> Status[dict[str, Any]]:
    """Ask for the whole settings document to become ``values``; the device takes it when it asks next, at its boot at the latest."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    asking.ask(device, asking.Change(asked.values, asked.based_on), place.who)
    return Status(202, _document(device))


def _document(device: Device) -> dict[str, Any]:
    return {**_state(device), "read": _read(device)}


def _read(device: Device) -> dict[str, Any] | None:
    """Give what the device's hook said last."""
    said = read_from(device)
    return None if said is None else {"at": said.read_at, "values": shown(said.values, said), "may_set": said.schema}


def _state(device: Device) -> dict[str, Any]:
    wanted, read = wanted_of(device), read_from(device)
    is_held = wanted.desired is None or wanted.desired.digest == device.settings_digest
    return {
        "wanted": shown(wanted.values, read),
        "reported": shown(device.settings_reported, read),
        "is_applied": is_held and not wanted.is_waiting and device.settings_state in {"none", "confirmed"},
        "mark": wanted.mark,
    }
