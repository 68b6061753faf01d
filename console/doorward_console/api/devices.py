"""Devices over the API."""

from typing import Any

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Query, Router

from doorward_console.api.caller import device_place, project_place
from doorward_console.api.shapes.devices import (
    DeviceIn,
    DeviceOut,
    DevicesWanted,
    JoinOut,
    ReasonIn,
    RemovalWanted,
    WayIn,
)
from doorward_console.fleet import changing
from doorward_console.fleet.asks import has_twin
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import Filter, Row, live_join_token, relays_of, row_of, rows_of
from doorward_console.maintenance import blocking, removing
from doorward_console.people.rights import Right

router = Router(tags=["devices"])


@router.get("/projects/{project_id}/devices", response=list[DeviceOut])
def list_devices(
    request: HttpRequest,
    project_id: str,
    wanted: Query[DevicesWanted],
) -> list[dict[str, Any]]:
    """List the project's devices, open doors first."""
    place = project_place(request, project_id)
    return [
        _document(row) for row in rows_of(place.project, Filter(wanted.q, wanted.state, wanted.presence, wanted.relay))
    ]


@router.post("/projects/{project_id}/devices", response={201: DeviceOut})
def add_device(request: HttpRequest, project_id: str, asked: DeviceIn) -> dict[str, Any]:
    """Add a device; it joins with the line of ``/devices/{id}/join``."""
    place = project_place(request, project_id, Right.MANAGE_DEVICES)
    return _now(changing.add_device(place.project, asked.name, place.who))


@router.get("/devices/{device_id}", response=DeviceOut)
def see_device(request: HttpRequest, device_id: str) -> dict[str, Any]:
    """Give one device."""
    return _now(device_place(request, device_id)[1])


@router.patch("/devices/{device_id}", response=DeviceOut)
def rename_device(request: HttpRequest, device_id: str, asked: DeviceIn) -> dict[str, Any]:
    """Give the device another name."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    changing.rename_device(device, asked.name, place.who)
    return _now(device)


@router.delete("/devices/{device_id}", response={204: None})
def remove_device(request: HttpRequest, device_id: str, wanted: Query[RemovalWanted]) -> None:
    """Remove the device for good: blocked, its session ended, its commands cancelled, its port free. Its history stays.

    ``confirm`` is the device's name; without it the answer is 409 ``device.not-confirmed``, and nothing happens.
    """
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    removing.remove_device(device, wanted.confirm, place.who)


@router.put("/devices/{device_id}/way", response=DeviceOut)
def set_way(request: HttpRequest, device_id: str, asked: WayIn) -> dict[str, Any]:
    """Say through which relay and port the device is reached; two devices on one relay and port are refused."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    chosen = next((one for one in relays_of(place.project) if one.id == asked.relay), None)
    if asked.relay is not None and chosen is None:
        raise Http404("There is no such relay in this project.")
    changing.set_way(device, chosen, asked.port, asked.bind, place.who)
    return _now(device)


@router.post("/devices/{device_id}/join", response={201: JoinOut})
def make_join(request: HttpRequest, device_id: str) -> dict[str, Any]:
    """Make the device's join line; an older one is void from now on."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    line = changing.new_join_line(device, place.who)
    token = live_join_token(device)
    return {"join": line, "expires_at": token.expires_at if token else None}


@router.post("/devices/{device_id}/block", response=DeviceOut)
def block_device(request: HttpRequest, device_id: str, asked: ReasonIn) -> dict[str, Any]:
    """Block the device: its session ends at once, and nothing is ordered for it."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    return _now(blocking.block(device, place.user, place.who.from_address, asked.reason))


@router.post("/devices/{device_id}/unblock", response=DeviceOut)
def unblock_device(request: HttpRequest, device_id: str, asked: ReasonIn) -> dict[str, Any]:
    """Take the block away."""
    place, device = device_place(request, device_id, Right.MANAGE_DEVICES)
    return _now(blocking.unblock(device, place.user, place.who.from_address, asked.reason))


def _now(device: Device) -> dict[str, Any]:
    return _document(row_of(device))


def _document(row: Row) -> dict[str, Any]:
    device = row.device
    return {
        "id": device.id,
        "project": device.project_id,
        "name": device.name,
        "state": device.state,
        "presence": device.presence,
        "presence_at": device.presence_at,
        "seen_at": device.seen_at,
        "agent_version": device.agent_version,
        "facts": device.facts,
        "clock_skew_ms": device.clock_skew_ms,
        "relay": device.relay_id,
        "port": device.relay_port,
        "bind": device.bind,
        "door": row.door.word,
        "verbs": device.verbs,
        "knows_hooks": device.knows_hooks,
        "shares_user": row.shares_user,
        "has_twin": has_twin(device, timezone.now()),
    }
