"""A device's licence over the API."""

from typing import Any

from django.http import HttpRequest
from doorward_protocol.reasons import reason_of
from ninja import Router

from doorward_console.api.caller import device_place
from doorward_console.api.doors import reason_document
from doorward_console.api.shapes.devices import LicenceIn, LicenceOut
from doorward_console.fleet.licensing import add_licence, newest_licence, what_is_missing
from doorward_console.fleet.models import Device
from doorward_console.people.rights import Right

router = Router(tags=["devices"])


@router.get("/devices/{device_id}/licence", response=LicenceOut)
def see_licence(request: HttpRequest, device_id: str) -> dict[str, Any]:
    """Say until when the device is licensed, and what is missing."""
    return _document(device_place(request, device_id)[1])


@router.put("/devices/{device_id}/licence", response=LicenceOut)
def put_licence(request: HttpRequest, device_id: str, asked: LicenceIn) -> dict[str, Any]:
    """Add a licence file; one of another device or issuer, or one that has ended, is refused with its code."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    add_licence(device, asked.licence.encode(), place.who)
    return _document(device)


def _document(device: Device) -> dict[str, Any]:
    held, code = newest_licence(device), what_is_missing(device, device.project)
    return {
        "valid_until": held.valid_until if held else None,
        "least_agent": held.least_agent if held else "",
        "missing": reason_document(reason_of(code)) if code else None,
    }
