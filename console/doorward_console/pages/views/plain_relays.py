"""Plain relays: adding one by what its owner knows of it, and changing that."""

from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from doorward_console.declined import Declined
from doorward_console.fleet.plain_relays import (
    add_plain_relay,
    change_plain_relay,
    plain_relay_from_text,
)
from doorward_console.pages.access import place_of, relay_at
from doorward_console.pages.views.relays import listed, shown
from doorward_console.people.rights import Right

_FIELDS: Final = ("name", "host", "ssh_port", "user", "host_keys")


@login_required
@require_POST
def add(request: HttpRequest, project_id: str) -> HttpResponse:
    """Add a plain relay; a refusal shows the form again with its sentence."""
    place = place_of(request, project_id, Right.MANAGE_RELAYS)
    typed = _typed(request)
    try:
        made = add_plain_relay(place.project, plain_relay_from_text(**typed), place.who)
    except Declined as declined:
        return listed(request, place, plain_problem=declined, plain_typed=typed)
    messages.success(request, f"{made.name} was added. Set it up as this page says.")
    return redirect("relay", place.project.id, made.id)


@login_required
@require_POST
def change(request: HttpRequest, project_id: str, relay_id: str) -> HttpResponse:
    """Change what is known of a plain relay; a refusal shows the form again with its sentence."""
    place = place_of(request, project_id, Right.MANAGE_RELAYS)
    one, typed = relay_at(place, relay_id), _typed(request)
    try:
        change_plain_relay(one, plain_relay_from_text(**typed), place.who)
    except Declined as declined:
        return shown(request, place, relay_at(place, relay_id), plain_problem=declined, plain_typed=typed)
    messages.success(request, "The relay was saved.")
    return redirect("relay", place.project.id, one.id)


def _typed(request: HttpRequest) -> dict[str, str]:
    return {name: request.POST.get(name, "") for name in _FIELDS}
