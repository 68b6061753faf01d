"""The list of devices, and a device's page with all that is done to it but its door."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from doorward_protocol.envelope import MAX_BYTES
from doorward_protocol.reasons import reason_of

from doorward_console.declined import Declined
from doorward_console.fleet import changing
from doorward_console.fleet.licensing import add_licence, newest_licence, what_is_missing
from doorward_console.fleet.models import Device, Relay
from doorward_console.fleet.queries import Filter, free_port_of, live_join_token, relays_of, row_of, rows_of
from doorward_console.history.queries import Filter as HistoryFilter
from doorward_console.history.queries import lines
from doorward_console.history.sentences import entry_of
from doorward_console.maintenance import blocking, removing
from doorward_console.maintenance.commands.shown import flat, last_known, offers_for
from doorward_console.maintenance.door import WORDS
from doorward_console.pages.access import Place, device_at, place_of
from doorward_console.pages.news import device_look, project_look
from doorward_console.pages.views.commands import commands_context
from doorward_console.pages.views.door import card_context
from doorward_console.pages.views.forwards import forwards_context
from doorward_console.people.rights import Right

_INSTALL: Final = """\
python3 -m venv /opt/doorward && /opt/doorward/bin/pip install 'doorward[agent]' && ln -s /opt/doorward/bin/doorward-* /usr/bin/
useradd --system --shell /usr/sbin/nologin doorward-agent
useradd --create-home --shell /bin/sh {login_user} && usermod -p '*' {login_user}"""
_FACT_NAMES: Final = {"hostname": "Host name", "os": "System", "arch": "Architecture", "firmware": "Firmware"}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def devices(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show the project's devices, or add one."""
    if request.method == "POST":
        return _add(request, place_of(request, project_id, Right.MANAGE_DEVICES))
    place = place_of(request, project_id)
    wanted = Filter(**{name: request.GET.get(name, "").strip() for name in ("q", "state", "presence", "relay")})
    known = project_look(place.project.id)
    every = rows_of(place.project)
    rows = rows_of(place.project, wanted) if wanted.is_set else every
    open_count = sum(row.door.word == "open" for row in every)
    context = {
        "place": place,
        "section": "devices",
        "wanted": wanted,
        "words": WORDS,
        "relays": relays_of(place.project),
        "rows": rows,
        "total": len(every),
        "any_device": bool(every),
        "open_count": open_count,
        "summary": _summary(open_count),
        "known": known,
        "here": request.get_full_path(),
        "offers": offers_for(place.member.role),
    }
    return render(request, "pages/devices.html", context)


def _summary(open_count: int) -> str:
    if not open_count:
        return "All doors shut"
    return "1 door open" if open_count == 1 else f"{open_count} doors open"


def _add(request: HttpRequest, place: Place) -> HttpResponse:
    try:
        device = changing.add_device(place.project, request.POST.get("name", ""), place.who)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("devices", place.project.id)
    return redirect("device", place.project.id, device.id)


@login_required
@require_safe
def device(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Show a device: its door, and beneath it its way, its facts, its history."""
    place = place_of(request, project_id)
    return _page(request, place, device_at(place, device_id))


def _page(request: HttpRequest, place: Place, one: Device, status: int = 200, **more: Any) -> HttpResponse:
    known = device_look(place.project.id, one.id)
    relays = relays_of(place.project)
    found, _ = lines(place.project, HistoryFilter(device=one.id, action="all", is_short=True))
    row = row_of(one)
    context = {
        "section": "devices",
        **card_context(place, row),
        **forwards_context(place, row),
        **commands_context(place, one),
        **_said_context(one),
        "relays": relays,
        "way_form": _way_form(one, relays),
        "install_lines": _INSTALL.format(login_user=place.project.login_user),
        "facts": [(_FACT_NAMES.get(name, name), value) for name, value in one.facts.items() if value],
        "entries": [entry_of(line) for line in found[:12]],
        "token": live_join_token(one) if one.state == Device.State.ADDED else None,
        "known": known,
        **_licence_context(place, one),
        **more,
    }
    return render(request, "pages/device.html", context, status=status)


def _way_form(one: Device, relays: Sequence[Relay]) -> dict[str, Any]:
    """Fill the form with the device's way; with the one way that suggests itself where it has none and there is one relay."""
    if one.relay_id is None and len(relays) == 1 and one.state != Device.State.BLOCKED:
        port = free_port_of(relays[0])
        return {"relay": relays[0].id, "port": port, "bind": one.bind, "is_suggested": True}
    return {"relay": one.relay_id, "port": one.relay_port, "bind": one.bind}


def _said_context(one: Device) -> dict[str, Any]:
    """Give what the device said when it was last asked what it is."""
    known = last_known(one, "system-info")
    return {"said_at": known.ended_at, "said_facts": flat(known.result or {})} if known else {}


def _licence_context(place: Place, one: Device) -> dict[str, Any]:
    code = what_is_missing(one, place.project)
    return {"licence": newest_licence(one), "licence_missing": reason_of(code) if code else None}


@login_required
@require_POST
def licence(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Add a licence file; a refusal shows the form again with its sentence."""
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    one = device_at(place, device_id)
    file = request.FILES.get("licence")
    try:
        add_licence(one, file.read(MAX_BYTES + 1) if isinstance(file, UploadedFile) else b"", place.who)
    except Declined as declined:
        return _page(request, place, one, 400, licence_problem=declined)
    messages.success(request, "The licence was added.")
    return redirect("device", place.project.id, one.id)


@login_required
@require_POST
def way(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Set the relay and port by which the device is reached; a refusal shows the form again with its sentence."""
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    one = device_at(place, device_id)
    typed = {name: request.POST.get(name, "").strip() for name in ("relay", "port", "bind")}
    try:
        chosen = next((relay for relay in relays_of(place.project) if relay.id == typed["relay"]), None)
        changing.set_way(one, chosen, changing.port_from_text(typed["port"]), typed["bind"] or "*", place.who)
    except Declined as declined:
        return _page(request, place, device_at(place, device_id), 400, way_problem=declined, way_form=typed)
    messages.success(request, "The way in was saved.")
    return redirect("device", place.project.id, one.id)


@login_required
@require_POST
@never_cache
def join(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Make the device's join line and show it, this one time."""
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    one = device_at(place, device_id)
    try:
        line = changing.new_join_line(one, place.who)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("device", place.project.id, one.id)
    token = live_join_token(one)
    until = token.expires_at if token else None
    answer = _page(request, place, one, join_line=line, join_until=until)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def name(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Give the device another name."""

    def rename(place: Place, one: Device) -> None:
        changing.rename_device(one, request.POST.get("name", ""), place.who)

    return _changed(request, project_id, device_id, rename, "The name was saved.")


@login_required
@require_POST
def block(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Block the device; an open door is shut at once."""

    def act(place: Place, one: Device) -> None:
        blocking.block(one, place.user, place.who.from_address, request.POST.get("reason", ""))

    return _changed(request, project_id, device_id, act, "The device is blocked.")


@login_required
@require_POST
def unblock(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Take the block away."""

    def act(place: Place, one: Device) -> None:
        blocking.unblock(one, place.user, place.who.from_address)

    return _changed(request, project_id, device_id, act, "The device is no longer blocked.")


@login_required
@require_POST
def remove(request: HttpRequest, project_id: str, device_id: str) -> HttpResponse:
    """Remove the device for good, where its name was typed."""
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    one = device_at(place, device_id)
    name = one.name
    try:
        removing.remove_device(one, request.POST.get("confirm", "").strip(), place.who)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("device", place.project.id, one.id)
    messages.success(request, f"{name} was removed. Its history stays.")
    return redirect("devices", place.project.id)


def _changed(
    request: HttpRequest, project_id: str, device_id: str, act: Callable[[Place, Device], object], said: str
) -> HttpResponse:
    place = place_of(request, project_id, Right.MANAGE_DEVICES)
    one = device_at(place, device_id)
    try:
        act(place, one)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
    else:
        messages.success(request, said)
    return redirect("device", place.project.id, one.id)
