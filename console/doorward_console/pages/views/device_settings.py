"""A device's settings: how they stand, a form or JSON to change them, what would change, and asking for it.

The way of a change: typed, shown as differences, asked for. Between the steps it travels with the page, so two steps back lose nothing; the
mark of what it began with travels along, and tells when somebody else was quicker.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from doorward_protocol import fields
from doorward_protocol.commands import READ_SETTINGS

from doorward_console.fleet.models import Device
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands.asking import ask_command
from doorward_console.maintenance.commands.deciding import can
from doorward_console.maintenance.documents import asking
from doorward_console.maintenance.documents.faults import Fault
from doorward_console.maintenance.documents.forms import document_from, fields_of, why_no_object
from doorward_console.maintenance.documents.paths import differences
from doorward_console.maintenance.documents.secrecy import carried, shown, with_carried, with_sealed
from doorward_console.maintenance.documents.standing import Standing, standing_of
from doorward_console.maintenance.documents.wanted import starting_values
from doorward_console.pages.access import Place, device_at, place_of
from doorward_console.pages.news import device_look
from doorward_console.pages.views.commands import problem_of, wish_of
from doorward_console.people.rights import Right

LONGEST_TYPED: Final = 100_000


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Show a device's settings; what was typed comes as POST, and ``step`` says what to do with it."""
    if request.method != "POST":
        place = place_of(request, project_id)
        device = device_at(place, device_id)
        return _edit(request, place, device, starting_values(device, standing_of(device).wanted))
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    device = device_at(place, device_id)
    standing = standing_of(device)
    mark = request.POST.get("mark", standing.wanted.mark)
    try:
        values = _typed(request, device, standing)
    except fields.Malformed:
        typed = request.POST.get("values", "")
        why = why_no_object(typed) if len(typed) <= LONGEST_TYPED else f"it is longer than {LONGEST_TYPED} characters"
        said = f"This is not one JSON object: {why}. Mend it there; nothing was asked of the device."
        return _edit(request, place, device, {}, status=400, as_json=True, mark=mark, problem=said, raw=typed)
    if request.POST.get("step") == "back":
        return _edit(request, place, device, values, mark=mark)
    return _go_on(request, place, device, asking.Change(values, mark))


def _go_on(request: HttpRequest, place: Place, device: Device, change: asking.Change) -> HttpResponse:
    """Show what would change, or ask for it; what is wrong is shown with everything that was typed."""
    try:
        if request.POST.get("step") == "ask":
            asking.ask(device, change, place.who)
            messages.success(request, "Asked for. How it goes is shown here.")
            return redirect("device-settings", place.project.id, device.id)
        faults = asking.faults_in(device, change.values)
        if not faults:
            return _compare(request, place, device, with_sealed(device, change.values), change.based_on)
    except asking.NotValid as invalid:
        faults = invalid.faults
    except NotAsked as refused:
        if refused.code == "settings.changed-meanwhile":
            return _compare(request, place, device, with_sealed(device, change.values))
        return _edit(
            request, place, device, change.values, status=409, mark=change.based_on, problem=problem_of(refused)
        )
    return _edit(request, place, device, change.values, status=409, mark=change.based_on, faults=faults)


def _typed(request: HttpRequest, device: Device, standing: Standing) -> Mapping[str, Any]:
    """Read what was typed: JSON, or the form's fields over what the change began with; raises Malformed."""
    kept = fields.object_from_json((request.POST.get("carried") or "{}")[:LONGEST_TYPED].encode())
    if "values" in request.POST:
        return with_carried(device, fields.object_from_json(request.POST["values"][:LONGEST_TYPED].encode()), kept)
    schema = standing.read.schema if standing.read and standing.read.schema else {}
    base = with_carried(device, starting_values(device, standing.wanted), kept)
    return document_from(schema, request.POST.dict(), base)


def _compare(
    request: HttpRequest, place: Place, device: Device, values: Mapping[str, Any], mark: str | None = None, **more: Any
) -> HttpResponse:
    """Show where the typed differs from what is wanted now; where that is another than it began with, that is said."""
    standing = standing_of(device)
    is_overtaken = mark != standing.wanted.mark
    context = {
        **_context(place, device, standing),
        "differences": differences(starting_values(device, standing.wanted), values),
        "typed": json.dumps(values, ensure_ascii=False),
        "mark": standing.wanted.mark,
        "as_json": request.GET.get("as") == "json",
        "is_overtaken": is_overtaken,
        **more,
    }
    return render(request, "pages/device_settings/compare.html", context, status=409 if is_overtaken else 200)


def _edit(
    request: HttpRequest, place: Place, device: Device, values: Mapping[str, Any], *, status: int = 200, **more: Any
) -> HttpResponse:
    standing = standing_of(device)
    read = standing.read
    faults: Sequence[Fault] = more.pop("faults", ())
    by_place = {fault.path: fault.says for fault in faults}
    kept = carried(device, values, by_place)
    values = shown(values, read)
    form = fields_of(read.schema, values) if read is not None and read.schema else ()
    is_json = more.pop("as_json", False) or request.GET.get("as") == "json"
    context = {
        **_context(place, device, standing),
        "rows": [(field, by_place.get(field.path)) for field in form],
        "left_out": [field for field in form if field.kind == "other"],
        "carried": json.dumps(kept),
        "raw": json.dumps(values, ensure_ascii=False, indent=2),
        "as_json": is_json or not form,
        "faults": faults,
        "mark": standing.wanted.mark,
        **more,
    }
    return render(request, "pages/device_settings/edit.html", context, status=status)


def _context(place: Place, device: Device, standing: Standing) -> dict[str, Any]:
    return {
        "place": place,
        "section": "devices",
        "device": device,
        "standing": standing,
        "said": json.dumps(shown(standing.read.values, standing.read), ensure_ascii=False, indent=2)
        if standing.read
        else "",
        "can_read": place.can["refresh"] and can(device.verbs, READ_SETTINGS) and device.state == Device.State.JOINED,
        "known": device_look(place.project.id, device.id),
    }


@login_required
@require_POST
def read(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Have the device say anew how it is set."""
    place = place_of(request, project_id, Right.REFRESH)
    device = device_at(place, device_id)
    try:
        ask_command(device, wish_of(request, READ_SETTINGS), place.who)
        messages.success(request, "The device was asked. What it says is shown here as soon as it has answered.")
    except NotAsked as refused:
        messages.error(request, problem_of(refused))
    return redirect("device-settings", place.project.id, device.id)
