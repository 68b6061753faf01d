"""The card of what can be asked of a device, and asking and taking back from it."""

from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from doorward_protocol.reasons import reason_of

from doorward_console.fleet.models import Device
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands import asking
from doorward_console.maintenance.commands.rehearsals import told_of
from doorward_console.maintenance.commands.shown import commands_of, offers_for, shown
from doorward_console.maintenance.models import Command
from doorward_console.maintenance.standing import settings_standing
from doorward_console.pages.access import Place, device_at, ensure, place_of
from doorward_console.people.rights import COMMANDS, Right

SHOWN: Final = 6
"""Commands on the card; all are in the history."""
EXPIRIES_S: Final = (3600, 28_800, 86_400, 259_200, 604_800)


def commands_context(place: Place, device: Device, problem: str = "") -> dict[str, Any]:
    """Gather what the card shows, and its dialogs."""
    role = place.member.role
    every = offers_for(role)
    is_able = device.state == Device.State.JOINED
    return {
        "place": place,
        "device": device,
        "offers": offers_for(role, device.verbs or []) if is_able else (),
        "dialogs": every,
        "may_ask": bool(every),
        "expiries": EXPIRIES_S,
        "usual_expiry": asking.USUAL_EXPIRY_S,
        "commands": [_cancellable(place, one) for one in commands_of(device, size=SHOWN)],
        "command_problem": problem,
        "rehearsal": told_of(device),
        "standing": settings_standing(device),
    }


def _cancellable(place: Place, command: Command) -> dict[str, Any]:
    one = shown(command)
    right = COMMANDS.get(command.verb)
    return {"one": one, "may_cancel": one.is_waiting and right is not None and place.can[right.name.lower()]}


@login_required
@require_safe
def card(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Show the card as it is now."""
    place = place_of(request, project_id)
    return _card(request, place, device_at(place, device_id))


def _card(request: HttpRequest, place: Place, device: Device, problem: str = "", *, answered: str = "") -> HttpResponse:
    """Render the card; ``answered`` names the command whose wish was answered, so that its form gets a new mark."""
    if not request.headers.get("HX-Request"):
        return redirect("device", place.project.id, device.id)
    context = commands_context(place, device, problem)
    if not answered:
        return render(request, "pages/commands/card.html", context)
    mark = {"verb": answered, "of": request.POST.get("name", "")}
    return render(request, "pages/commands/asked.html", context | mark)


@login_required
@require_POST
def ask(request: HttpRequest, project_id: str, device_id: str, verb: str) -> HttpResponse:
    """Ask the device for something."""
    place = place_of(request, project_id, COMMANDS.get(verb, Right.VIEW))
    device = device_at(place, device_id)
    problem = ""
    try:
        asking.ask_command(device, wish_of(request, verb), place.who)
    except NotAsked as refused:
        problem = problem_of(refused)
    return _card(request, place, device, problem, answered=verb)


@login_required
@require_POST
def cancel(request: HttpRequest, project_id: str, device_id: str, command_id: str) -> HttpResponse:
    """Take a command back."""
    place = place_of(request, project_id)
    device = device_at(place, device_id)
    command = Command.objects.filter(pk=command_id, device=device).select_related("project").first()
    if command is None:
        raise Http404("There is no such command of this device.")
    ensure(place.member, COMMANDS[command.verb])
    try:
        asking.cancel(command, place.who)
    except NotAsked as refused:
        return _card(request, place, device, problem_of(refused))
    return _card(request, place, device)


def wish_of(request: HttpRequest, verb: str) -> asking.Wish:
    """Read a dialog's fields; the length of waiting that is none of the choices is the usual one."""
    typed = request.POST.get("expires_s", "")
    expires_s = next((one for one in EXPIRIES_S if str(one) == typed), asking.USUAL_EXPIRY_S)
    typed_in = {name: request.POST.get(name, "").strip() for name in ("text", "name")}
    return asking.Wish(
        verb=verb,
        arguments={name: text for name, text in typed_in.items() if text},
        reason=request.POST.get("reason", ""),
        expires_s=expires_s,
        confirm=request.POST.get("confirm", "").strip(),
        mark=request.POST.get("mark", "")[:64],
    )


def problem_of(refused: NotAsked) -> str:
    reason = reason_of(refused.code)
    return f"{reason.meaning} {reason.next}"
