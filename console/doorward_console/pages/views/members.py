"""The members of a project and their roles; the owner's page."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from doorward_console.declined import Declined
from doorward_console.pages.access import Place, place_of
from doorward_console.people import members as changing
from doorward_console.people.models import Member, Role
from doorward_console.people.queries import members_of
from doorward_console.people.rights import Right


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show the members, or add one; a new account's first password is shown this once."""
    place = place_of(request, project_id, Right.MANAGE_MEMBERS)
    if request.method != "POST":
        return _list(request, place)
    try:
        added = changing.add_member(
            place.project, request.POST.get("email", ""), request.POST.get("role", ""), place.who
        )
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
        return redirect("members", place.project.id)
    if added.first_password is None:
        messages.success(request, f"{added.member.user} is {added.member.role} now.")
        return redirect("members", place.project.id)
    answer = _list(request, place, added)
    answer["Cache-Control"] = "no-store"
    return answer


def _list(request: HttpRequest, place: Place, added: changing.Added | None = None) -> HttpResponse:
    context = {
        "place": place,
        "section": "members",
        "members": members_of(place.project),
        "roles": Role.choices,
        "added": added,
    }
    return render(request, "pages/members.html", context)


@login_required
@require_POST
def change(request: HttpRequest, project_id: str, member_id: int) -> HttpResponse:
    """Change a member's role, or end the membership."""
    place = place_of(request, project_id, Right.MANAGE_MEMBERS)
    try:
        if request.POST.get("role") == "remove":
            changing.remove_member(place.project, member_id, place.who)
        else:
            changing.change_role(place.project, member_id, request.POST.get("role", ""), place.who)
    except Member.DoesNotExist:
        raise Http404("There is no such member in this project.") from None
    except Declined as declined:
        messages.error(request, f"{declined.message} {declined.next}")
    else:
        messages.success(request, "The members were changed.")
    if not Member.objects.filter(project=place.project, user=place.user, role=Role.OWNER).exists():
        return redirect("home")
    return redirect("members", place.project.id)
