"""The project's key pair (E1): what each file is for, made in one step by the owner, shown once."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from doorward_console.declined import Declined
from doorward_console.fleet.ssh_lines import device_key_name, relay_key_name
from doorward_console.keys.pairs import live_pair, make_pair
from doorward_console.keys.relay_file import (
    hand_out,
    last_line,
    new_since,
    ports_from_text,
    text_from_ports,
    usual_ports,
)
from doorward_console.pages.access import Place, place_of
from doorward_console.people.rights import Right


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show what the pair is for; make it, and answer this once with both files."""
    if request.method == "POST":
        return _make(request, place_of(request, project_id, Right.MAKE_KEYS))
    return render(request, "pages/keys.html", _context(place_of(request, project_id)))


def _context(place: Place) -> dict[str, object]:
    return {
        "place": place,
        "section": "keys",
        "pair": live_pair(place.project),
        "device_file": device_key_name(place.project.id),
        "relay_file": relay_key_name(place.project.id),
        "ports": text_from_ports(usual_ports(place.project)),
        "line": last_line(place.project),
        "new_ports": new_since(place.project),
    }


def _make(request: HttpRequest, place: Place) -> HttpResponse:
    try:
        ports = ports_from_text(request.POST.get("ports", ""))
        relay_line = hand_out(place.project, ports)
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("keys", place.project.id)
    made = make_pair(place.project, place.who)
    context = {**_context(place), "private_text": made.private_text, "relay_line": relay_line}
    answer = render(request, "pages/keys_made.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_safe
def relay_file(request: HttpRequest, project_id: str) -> HttpResponse:
    """Give the relay's file again, for the ports named or the usual ones: it is public, and changes with the ports.

    That it was downloaded is noted, as in a log; the keys page says which ports are new since.
    """
    place = place_of(request, project_id, Right.MAKE_KEYS)
    if live_pair(place.project) is None:
        raise Http404("The project has no key pair yet.")
    wanted = request.GET.get("ports", "")
    try:
        text = hand_out(place.project, ports_from_text(wanted) if wanted else usual_ports(place.project)) + "\n"
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("keys", place.project.id)
    name = relay_key_name(place.project.id)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="application/octet-stream", headers=headers)
