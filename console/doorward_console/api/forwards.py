"""A device's named forwards over the API."""

from typing import Any

from django.http import HttpRequest
from ninja import Router

from doorward_console.api.caller import device_place
from doorward_console.api.doors import forward_documents
from doorward_console.api.shapes.doors import ForwardIn, ForwardOut
from doorward_console.fleet.forwards import Wanted, remove_forward, set_forward
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import row_of
from doorward_console.pages.access import Place
from doorward_console.people.rights import Right

router = Router(tags=["forwards"])


@router.get("/devices/{device_id}/forwards", response=list[ForwardOut])
def list_forwards(request: HttpRequest, device_id: str) -> list[dict[str, Any]]:
    """List the forwards that the device offers, that have a port, or that are open."""
    return _now(*device_place(request, device_id))


@router.put("/devices/{device_id}/forwards/{name}", response=list[ForwardOut])
def put_forward(request: HttpRequest, device_id: str, name: str, asked: ForwardIn) -> list[dict[str, Any]]:
    """Give a forward that the device offers a port on its relay, with the target that the device has now; gives all of them.

    It takes effect with the next opening.
    """
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    set_forward(device, name, Wanted(asked.port, asked.bind, asked.is_usual), place.who)
    return _now(place, device)


@router.delete("/devices/{device_id}/forwards/{name}", response={204: None})
def delete_forward(request: HttpRequest, device_id: str, name: str) -> None:
    """Take a forward's port away; a session that has it keeps it until its end."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    remove_forward(device, name, place.who)


def _now(place: Place, device: Device) -> list[dict[str, Any]]:
    return forward_documents(place, device, row_of(device).door)
