"""The card of a device's named forwards, and giving them ports."""

from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from doorward_console.declined import Declined
from doorward_console.fleet.changing import port_from_text
from doorward_console.fleet.forwards import Wanted, remove_forward, set_forward
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import Row, free_port_of, row_of
from doorward_console.maintenance.commands.forward_tests import tests_of
from doorward_console.maintenance.forwards import shown_of
from doorward_console.pages.access import Place, device_at, place_of
from doorward_console.people.rights import Right

_WORDS: Final = {"shut": "Shut", "opening": "Opening", "open": "Open", "failed": "Not open"}


def forwards_context(place: Place, row: Row) -> dict[str, Any]:
    """Gather what the card, its dialogs and the one for turning on show."""
    device = row.device
    tests = tests_of(device)
    is_able = device.state == Device.State.JOINED and place.can["rehearse"]
    return {
        "place": place,
        "device": device,
        "forwards": [
            {
                "one": one,
                "word": _WORDS[one.state] if one.port or one.state != "shut" else "Not set up",
                "test": tests.get(one.name),
                "may_test": is_able and one.offered is not None,
            }
            for one in shown_of(device, row.door.session, row.door.word)
        ],
        "free_port": free_port_of(device.relay) if device.relay else None,
    }


@login_required
@require_safe
def card(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Show the card as it is now."""
    place = place_of(request, project_id)
    device = device_at(place, device_id)
    if not request.headers.get("HX-Request"):
        return redirect("device", place.project.id, device.id)
    return render(request, "pages/forwards/card.html", forwards_context(place, row_of(device)))


@login_required
@require_POST
def change(request: HttpRequest, project_id: str, device_id: str, forward: str) -> HttpResponse:
    """Give a forward a port, or take it away."""
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    device = device_at(place, device_id)
    try:
        if "remove" in request.POST:
            remove_forward(device, forward, place.who)
            said = f"The forward {forward} was taken away."
        else:
            set_forward(device, forward, _wanted(request), place.who)
            said = f"The forward {forward} was saved; it goes with the next opening."
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
    else:
        messages.success(request, said)
    return redirect("device", place.project.id, device.id)


def _wanted(request: HttpRequest) -> Wanted:
    port = port_from_text(request.POST.get("port", "").strip())
    if port is None:
        raise Declined("device.port", "A forward needs a port of its own on the relay.", "Enter one.")
    return Wanted(port, request.POST.get("bind", ""), request.POST.get("is_usual") == "1")
