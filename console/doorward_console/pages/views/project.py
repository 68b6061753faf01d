"""Where a person begins: their projects; and the owner's page of a project's rules."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from doorward_console.declined import Declined
from doorward_console.fleet.queries import rows_of
from doorward_console.pages.access import place_of, user_of
from doorward_console.pages.views.door import DURATIONS_S
from doorward_console.people.models import Project
from doorward_console.people.projects import Rules, set_rules
from doorward_console.people.queries import memberships_of
from doorward_console.people.rights import Right


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Lead to the only project, or to the choice."""
    memberships = memberships_of(user_of(request))
    if len(memberships) == 1:
        return redirect("devices", memberships[0].project_id)
    return redirect("projects")


@login_required
@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """Show the person's projects."""
    rows = [
        {"member": one, "open": sum(row.door.word == "open" for row in rows_of(one.project))}
        for one in memberships_of(user_of(request))
    ]
    return render(request, "pages/projects.html", {"rows": rows})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show the project's rules, or change them."""
    place = place_of(request, project_id, Right.MANAGE_PROJECT)
    problem = None
    if request.method == "POST":
        try:
            set_rules(place.project, _rules(request), place.who)
        except Declined as declined:
            problem = declined
        else:
            messages.success(request, "The project's rules were saved.")
            return redirect("settings", place.project.id)
    durations = sorted({*DURATIONS_S, place.project.default_duration_s})
    context = {"place": place, "section": "settings", "durations": durations, "problem": problem}
    return render(request, "pages/settings.html", context, status=400 if problem else 200)


def _rules(request: HttpRequest) -> Rules:
    text = request.POST.get("default_duration_s", "")
    return Rules(
        name=" ".join(request.POST.get("name", "").split()),
        default_duration_s=int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0,
        needs_reason=request.POST.get("needs_reason") == "on",
        login_user=request.POST.get("login_user", "").strip(),
        licence_policy=Project.LicencePolicy.REQUIRED
        if request.POST.get("licences") == "on"
        else Project.LicencePolicy.NONE,
        least_agent=request.POST.get("least_agent", "").strip(),
    )
