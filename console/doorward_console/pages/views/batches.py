"""One command on several devices: looked at before it is asked, followed while it goes, stopped."""

import secrets
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from doorward_console.fleet.models import Device
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands import asking
from doorward_console.maintenance.commands.shown import Offer, offers_for, progress_of
from doorward_console.maintenance.models import Batch
from doorward_console.pages.access import Place, ensure, place_of
from doorward_console.pages.news import project_look
from doorward_console.pages.views.commands import EXPIRIES_S, problem_of, wish_of
from doorward_console.people.rights import COMMANDS, Right


@login_required
@require_POST
def choose(request: HttpRequest, project_id: str, verb: str) -> HttpResponse:
    """Show what is about to be asked of whom, with what is missing to ask it."""
    place, offer = _offer(request, project_id, verb)
    return _choice(request, place, offer, _devices(request, place))


@login_required
@require_POST
def ask(request: HttpRequest, project_id: str, verb: str) -> HttpResponse:
    """Ask the chosen devices."""
    place, offer = _offer(request, project_id, verb)
    devices = _devices(request, place)
    if not devices:
        return _choice(request, place, offer, devices)
    try:
        batch = asking.ask_commands(place.project, devices, wish_of(request, offer.verb), place.who)
    except NotAsked as refused:
        return _choice(request, place, offer, devices, problem_of(refused))
    return redirect("batch", place.project.id, batch.pk)


def _offer(request: HttpRequest, project_id: str, verb: str) -> tuple[Place, Offer]:
    place = place_of(request, project_id, COMMANDS.get(verb, Right.VIEW))
    found = next((one for one in offers_for(place.member.role) if one.verb == verb), None)
    if found is None:
        raise Http404("There is no such command.")
    return place, found


def _devices(request: HttpRequest, place: Place) -> list[Device]:
    return asking.devices_named(place.project, sorted(set(request.POST.getlist("device"))))


def _choice(request: HttpRequest, place: Place, offer: Offer, devices: list[Device], problem: str = "") -> HttpResponse:
    if not devices:
        messages.error(request, "No device was chosen. Mark at least one.")
        return redirect("devices", place.project.id)
    lacking = [one for one in devices if one.has_said_verbs and offer.verb not in (one.verbs or ())]
    context = {
        "place": place,
        "section": "devices",
        "offer": offer,
        "devices": devices,
        "lacking": lacking,
        "unknown": [one for one in devices if not one.knows_hooks and offer.verb not in (one.verbs or ())],
        "away": [one for one in devices if one.presence != "connected"],
        "problem": problem,
        "confirm_name": place.project.name,
        "expiries": EXPIRIES_S,
        "usual_expiry": asking.USUAL_EXPIRY_S,
        "mark": secrets.token_urlsafe(16),
    }
    return render(request, "pages/commands/choose.html", context)


@login_required
@require_safe
def batch(request: HttpRequest, project_id: str, batch_id: str) -> HttpResponse:
    """Show how far a command on several devices is, and each one's result."""
    place = place_of(request, project_id)
    return render(request, "pages/commands/batch.html", _context(place, _found(place, batch_id)))


def _context(place: Place, found: Batch) -> dict[str, Any]:
    known = project_look(place.project.id)
    right = COMMANDS[found.verb]
    return {
        "place": place,
        "section": "devices",
        "batch": found,
        "progress": progress_of(found),
        "may_stop": place.can[right.name.lower()],
        "known": known,
    }


@login_required
@require_POST
def stop(request: HttpRequest, project_id: str, batch_id: str) -> HttpResponse:
    """Cancel what of it has not begun."""
    place = place_of(request, project_id)
    found = _found(place, batch_id)
    ensure(place.member, COMMANDS[found.verb])
    count = asking.stop(found, place.who)
    messages.success(request, f"Stopped: {count} device{'' if count == 1 else 's'} will not be told.")
    return redirect("batch", place.project.id, found.pk)


def _found(place: Place, batch_id: str) -> Batch:
    found: Batch | None = Batch.objects.filter(pk=batch_id, project=place.project).first()
    if found is None:
        raise Http404("There is no such command in this project.")
    return found
