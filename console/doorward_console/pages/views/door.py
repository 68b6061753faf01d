"""The door's card, and the three things that people ask of a door: on, off, longer."""

from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from doorward_protocol.reasons import Reason, reason_of

from doorward_console.fleet.asks import TWIN, has_twin
from doorward_console.fleet.licensing import what_is_missing
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import Row, row_of
from doorward_console.fleet.ssh_lines import bare_ssh_line, known_hosts_line, ssh_line
from doorward_console.fleet.ways import blocker_of, way_of
from doorward_console.history.sentences import SHARES_USER
from doorward_console.keys.models import Key
from doorward_console.keys.pairs import live_pair, public_of
from doorward_console.maintenance import asking
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.witnesses import DISAGREEMENT
from doorward_console.pages.access import Place, device_at, place_of
from doorward_console.people.rights import Right

DURATIONS_S: Final = (900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
"""The usual choices: a quarter of an hour to a day."""


def card_context(place: Place, row: Row, problem: str = "") -> dict[str, Any]:
    """Gather what the door's card shows; the ssh lines only while the door is open, to those who may log in."""
    device, door = row.device, row.door
    context: dict[str, Any] = {
        "place": place,
        "device": device,
        "door": door,
        "problem": problem,
        "claims": row.claims,
        "disagreement": reason_of(DISAGREEMENT) if row.claims else None,
        "twin": reason_of(TWIN) if has_twin(device, timezone.now()) else None,
        "durations": sorted({*DURATIONS_S, place.project.default_duration_s}),
        "blocker": None if door.is_live else _blocker(place, device),
    }
    if door.word == "open" and row.shares_user:
        context["shares_user"] = SHARES_USER
    way = way_of(door.session) if door.word == "open" and door.session and place.can["log_in"] else None
    if way is not None:
        host_ca = public_of(place.project, Key.Kind.HOST_CA)
        context |= {
            "way": way,
            "ssh_line": ssh_line(way),
            "bare_line": bare_ssh_line(way),
            "known_hosts": known_hosts_line(device.id, host_ca) if host_ca else "",
        }
    return context


def _blocker(place: Place, device: Device) -> Reason | None:
    has_pair = live_pair(place.project) is not None
    return blocker_of(device, has_pair=has_pair, licence_code=what_is_missing(device, place.project))


@login_required
@require_safe
def card(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Show the card as it is now."""
    place = place_of(request, project_id)
    return _card(request, place, device_at(place, device_id))


def _card(request: HttpRequest, place: Place, device: Device, problem: str = "") -> HttpResponse:
    if not request.headers.get("HX-Request"):
        return redirect("device", place.project.id, device.id)
    return render(request, "pages/door/card.html", card_context(place, row_of(device), problem))


@login_required
@require_POST
def on(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Ask for the door to be opened."""
    place = place_of(request, project_id, Right.TOGGLE)
    device = device_at(place, device_id)
    names = tuple(request.POST.getlist("forwards")) if "chooses_forwards" in request.POST else None
    wanted = asking.Opening(_duration(request), request.POST.get("reason", ""), names)
    try:
        asking.ask_on(device, place.user, place.who.from_address, wanted)
    except NotAsked as refused:
        return _card(request, place, device, _problem(refused))
    return _card(request, place, device)


@login_required
@require_POST
def off(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Shut the door."""
    place = place_of(request, project_id, Right.TOGGLE)
    device = device_at(place, device_id)
    asking.turn_off(device, place.user, place.who.from_address)
    return _card(request, place, device)


@login_required
@require_POST
def extend(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Ask for an open door to stay open longer."""
    place = place_of(request, project_id, Right.TOGGLE)
    device = device_at(place, device_id)
    try:
        asking.extend(device, place.user, place.who.from_address, _duration(request))
    except NotAsked as refused:
        return _card(request, place, device, _problem(refused))
    return _card(request, place, device)


def _duration(request: HttpRequest) -> int | None:
    """Read the seconds that were chosen; 0, which is refused with a sentence, for what is no number."""
    text = request.POST.get("duration_s", "").strip()
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _problem(refused: NotAsked) -> str:
    reason = reason_of(refused.code)
    return f"{reason.meaning} {reason.next}"
