"""A door over the API: the truth, and what is asked of it."""

from typing import Any, Final

from django.http import HttpRequest
from doorward_protocol.reasons import Reason
from ninja import Query, Router

from doorward_console.api.auth import WaitingBearer, WaitingBrowser
from doorward_console.api.caller import device_place
from doorward_console.api.shapes.doors import DoorIn, DoorOut, DoorWait, ExtendIn
from doorward_console.api.waiting import when_news
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import row_of
from doorward_console.fleet.ssh_lines import bare_ssh_line, known_hosts_line, ssh_line
from doorward_console.fleet.ways import way_of
from doorward_console.keys.models import Key
from doorward_console.keys.pairs import public_of
from doorward_console.maintenance import asking
from doorward_console.maintenance.door import Door
from doorward_console.maintenance.forwards import shown_of
from doorward_console.pages.access import Place
from doorward_console.people.rights import Right

router = Router(tags=["doors"])


@router.get("/devices/{device_id}/door", response=DoorOut, auth=[WaitingBearer(), WaitingBrowser()])
async def see_door(request: HttpRequest, device_id: str, asked: Query[DoorWait]) -> dict[str, Any]:
    """Say what the door is. With ``wait`` the answer comes when the state has changed, or after so many seconds.

    ``state`` is the state that the caller knows; without it, the one at the time of asking.
    """

    def is_news(first: dict[str, Any], now: dict[str, Any]) -> bool:
        return bool(now["state"] != (asked.state or first["state"]))

    return await when_news(lambda: _door_now(*device_place(request, device_id)), is_news, asked.wait)


@router.post("/devices/{device_id}/door", response={202: DoorOut})
def ask_door(request: HttpRequest, device_id: str, asked: DoorIn) -> dict[str, Any]:
    """Ask for the door to be opened or shut. The answer is what the door is, not what was asked: look again."""
    place, device = device_place(request, device_id, Right.TOGGLE)
    if asked.state == "open":
        names = None if asked.forwards is None else tuple(asked.forwards)
        wanted = asking.Opening(asked.duration_s, asked.reason, names)
        asking.ask_on(device, place.user, place.who.from_address, wanted)
    else:
        asking.turn_off(device, place.user, place.who.from_address, asked.reason)
    return _door_now(place, device)


@router.post("/devices/{device_id}/door/extend", response={202: DoorOut})
def extend_door(request: HttpRequest, device_id: str, asked: ExtendIn) -> dict[str, Any]:
    """Ask for an open door to stay open, counted from now."""
    place, device = device_place(request, device_id, Right.TOGGLE)
    asking.extend(device, place.user, place.who.from_address, asked.duration_s)
    return _door_now(place, device)


def _door_now(place: Place, device: Device) -> dict[str, Any]:
    row = row_of(device)
    door = row.door
    session, waiting = door.session, door.waiting
    return {
        "device": device.id,
        "state": door.word,
        "session": session.id if session else None,
        "asked_by": session.asked_by_name if session else waiting.by_name if waiting else None,
        "reason": session.reason if session else waiting.reason if waiting else None,
        "requested_at": session.requested_at if session else waiting.at if waiting else None,
        "opened_at": session.opened_at if session else None,
        "ends_at": session.ends_at if session else None,
        "closed_at": session.closed_at if session else None,
        "shares_user": row.shares_user,
        "why": reason_document(door.reason),
        "notice": reason_document(door.notice),
        "disagreement": [{"who": one.who, "says": one.says} for one in row.claims],
        "steps": [
            {"step": one.name, "at": one.at, "code": one.reason.code if one.reason else None} for one in door.steps
        ],
        "lines": _lines(place, door),
        "forwards": forward_documents(place, device, door),
    }


def _lines(place: Place, door: Door) -> dict[str, Any] | None:
    if door.word != "open" or door.session is None or not place.can["log_in"]:
        return None
    way = way_of(door.session)
    host_ca = public_of(place.project, Key.Kind.HOST_CA)
    return {
        "host": way.host,
        "port": way.port,
        "user": way.user,
        "ssh": ssh_line(way),
        "ssh_weaker": bare_ssh_line(way),
        "known_hosts": known_hosts_line(way.device, host_ca) if host_ca else None,
    }


def forward_documents(place: Place, device: Device, door: Door) -> list[dict[str, Any]]:
    """Write a device's forwards as the API shows them."""
    return [
        {
            **{name: getattr(one, name) for name in _AS_THEY_ARE},
            "why": reason_document(one.reason),
            "place": one.place if one.place and place.can["log_in"] else None,
        }
        for one in shown_of(device, door.session, door.word)
    ]


_AS_THEY_ARE: Final = ("name", "target", "offered", "port", "bind", "is_usual", "state", "address", "at")


def reason_document(reason: Reason | None) -> dict[str, str] | None:
    """Write a reason as the API shows it."""
    if reason is None:
        return None
    return {"code": reason.code, "move": reason.move, "meaning": reason.meaning, "next": reason.next}
