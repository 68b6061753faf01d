"""The project's relays: the list, pairing by a pasted line, and a relay's page."""

from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from doorward_protocol.reasons import reason_of

from doorward_console.declined import Declined
from doorward_console.fleet import changing
from doorward_console.fleet.models import Relay
from doorward_console.fleet.pairing import pair
from doorward_console.fleet.queries import ports_of, relays_of
from doorward_console.fleet.ssh_lines import relay_key_name
from doorward_console.keys.relay_file import new_since
from doorward_console.keys.ssh import openssh_fingerprint
from doorward_console.pages.access import Place, place_of, relay_at
from doorward_console.pages.news import project_look
from doorward_console.people.rights import Right

SSHD_CONFIG: Final = "PubkeyAuthentication yes\nGatewayPorts yes\nClientAliveInterval 30\nClientAliveCountMax 3"
"""What a plain relay's sshd needs: keys, doors on its public address, and an end to dead tunnels (sshd_config(5))."""


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def relays(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show the relays, or pair one; a refusal shows the form again with its sentence."""
    if request.method == "POST":
        return _pair(request, place_of(request, project_id, Right.MANAGE_RELAYS))
    return _list(request, place_of(request, project_id))


def _list(request: HttpRequest, place: Place, problem: Declined | None = None) -> HttpResponse:
    return listed(request, place, problem=problem)


def listed(request: HttpRequest, place: Place, **more: Any) -> HttpResponse:
    """Show the relays; ``problem`` or ``plain_problem`` says why something was not added."""
    known = project_look(place.project.id)
    rows = [
        {"relay": one, "reason": reason_of(one.code) if one.code else None, "devices": len(ports_of(one))}
        for one in relays_of(place.project)
    ]
    typed = {"line": request.POST.get("line", ""), "name": request.POST.get("name", "")}
    context = {"place": place, "section": "relays", "rows": rows, "known": known, "typed": typed, **more}
    is_bad = more.get("problem") or more.get("plain_problem")
    return render(request, "pages/relays.html", context, status=400 if is_bad else 200)


def _pair(request: HttpRequest, place: Place) -> HttpResponse:
    line, name = request.POST.get("line", ""), request.POST.get("name", "")
    try:
        made = pair(place.project, line, name, place.user, place.who.from_address)
    except Declined as declined:
        return _list(request, place, declined)
    messages.success(request, f"{made.name} is paired.")
    return redirect("relay", place.project.id, made.id)


@login_required
@require_safe
def relay(request: HttpRequest, project_id: str, relay_id: str) -> HttpResponse:
    """Show a relay: how it is, and who has which port."""
    place = place_of(request, project_id)
    return shown(request, place, relay_at(place, relay_id))


def shown(request: HttpRequest, place: Place, one: Relay, **more: Any) -> HttpResponse:
    """Show a relay's page; ``plain_problem`` and ``plain_typed`` say why it was not changed, and what was typed."""
    known = project_look(place.project.id)
    context = {
        "place": place,
        "section": "relays",
        "relay": one,
        "reason": reason_of(one.code) if one.code else None,
        "ports": ports_of(one),
        "known": known,
    }
    if one.kind == Relay.Kind.PLAIN:
        context |= _plain_context(place, one)
    return render(request, "pages/relay.html", context | more, status=400 if more.get("plain_problem") else 200)


def _plain_context(place: Place, one: Relay) -> dict[str, Any]:
    return {
        "fingerprints": [openssh_fingerprint(line) for line in one.ssh_host_keys],
        "relay_file": relay_key_name(place.project.id),
        "sshd_config": SSHD_CONFIG,
        "new_ports": [new for new in new_since(place.project) if new.device.relay_id == one.id],
        "plain_typed": {
            "name": one.name,
            "host": one.host,
            "ssh_port": one.ssh_port,
            "user": one.tunnel_user,
            "host_keys": "\n".join(one.ssh_host_keys),
        },
    }


@login_required
@require_POST
def remove(request: HttpRequest, project_id: str, relay_id: str) -> HttpResponse:
    """Take a relay out of use."""
    place = place_of(request, project_id, Right.MANAGE_RELAYS)
    one = relay_at(place, relay_id)
    name = one.name
    try:
        changing.remove_relay(one, place.who)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("relay", place.project.id, one.id)
    messages.success(request, f"{name} was removed.")
    return redirect("relays", place.project.id)
