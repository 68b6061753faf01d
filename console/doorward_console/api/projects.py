"""Projects over the API: their rules, their members, their key pair."""

from dataclasses import replace
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Router

from doorward_console.api.caller import caller_of, project_place
from doorward_console.api.shapes.projects import (
    FileOut,
    KeysIn,
    KeysOut,
    MemberIn,
    MemberOut,
    NewKeysOut,
    NewMemberOut,
    ProjectIn,
    ProjectOut,
    RoleIn,
)
from doorward_console.fleet.ssh_lines import device_key_name, relay_key_name
from doorward_console.keys.pairs import live_pair, make_pair
from doorward_console.keys.relay_file import hand_out, ports_from_text, usual_ports
from doorward_console.people import members as changing
from doorward_console.people.models import Member
from doorward_console.people.projects import rules_of, set_rules
from doorward_console.people.queries import members_of, memberships_of
from doorward_console.people.rights import Right

router = Router(tags=["projects"])


@router.get("/projects", response=list[ProjectOut])
def list_projects(request: HttpRequest) -> list[dict[str, Any]]:
    """List the caller's projects."""
    return [_project(one) for one in memberships_of(caller_of(request))]


@router.get("/projects/{project_id}", response=ProjectOut)
def see_project(request: HttpRequest, project_id: str) -> dict[str, Any]:
    """Give one project."""
    return _project(project_place(request, project_id).member)


@router.patch("/projects/{project_id}", response=ProjectOut)
def change_project(request: HttpRequest, project_id: str, asked: ProjectIn) -> dict[str, Any]:
    """Change the project's rules; what is left out stays."""
    place = project_place(request, project_id, Right.MANAGE_PROJECT)
    given = {name: value for name, value in asked.dict().items() if value is not None}
    set_rules(place.project, replace(rules_of(place.project), **given), place.who)
    return _project(place.member)


@router.get("/projects/{project_id}/members", response=list[MemberOut])
def list_members(request: HttpRequest, project_id: str) -> list[dict[str, Any]]:
    """List the members, owners first."""
    place = project_place(request, project_id, Right.MANAGE_MEMBERS)
    return [_member(one) for one in members_of(place.project)]


@router.post("/projects/{project_id}/members", response={201: NewMemberOut})
def add_member(request: HttpRequest, project_id: str, asked: MemberIn, response: HttpResponse) -> dict[str, Any]:
    """Give somebody a role; who has no account gets one, with a first password that is given this one time."""
    place = project_place(request, project_id, Right.MANAGE_MEMBERS)
    added = changing.add_member(place.project, asked.email, asked.role, place.who)
    response["Cache-Control"] = "no-store"
    return _member(added.member) | {"first_password": added.first_password}


@router.patch("/projects/{project_id}/members/{member_id}", response=MemberOut)
def change_member(request: HttpRequest, project_id: str, member_id: int, asked: RoleIn) -> dict[str, Any]:
    """Change a member's role; one owner always stays."""
    place = project_place(request, project_id, Right.MANAGE_MEMBERS)
    try:
        return _member(changing.change_role(place.project, member_id, asked.role, place.who))
    except Member.DoesNotExist:
        raise Http404("There is no such member in this project.") from None


@router.delete("/projects/{project_id}/members/{member_id}", response={204: None})
def remove_member(request: HttpRequest, project_id: str, member_id: int) -> None:
    """End a membership; one owner always stays."""
    place = project_place(request, project_id, Right.MANAGE_MEMBERS)
    try:
        changing.remove_member(place.project, member_id, place.who)
    except Member.DoesNotExist:
        raise Http404("There is no such member in this project.") from None


@router.get("/projects/{project_id}/keys", response=KeysOut)
def see_keys(request: HttpRequest, project_id: str) -> dict[str, Any]:
    """Give the public part of the pair in use."""
    pair = live_pair(project_place(request, project_id).project)
    return {
        "public_key": pair.public_key if pair else None,
        "made_at": pair.made_at if pair else None,
        "made_by": pair.made_by.email if pair and pair.made_by else None,
    }


@router.post("/projects/{project_id}/keys", response={201: NewKeysOut})
def make_keys(request: HttpRequest, project_id: str, asked: KeysIn, response: HttpResponse) -> dict[str, Any]:
    """Make the pair, in place of the one before. This answer is the only place where the private key ever is."""
    place = project_place(request, project_id, Right.MAKE_KEYS)
    project = place.project
    ports = ports_from_text(asked.ports) if asked.ports.strip() else usual_ports(project)
    relay_line = hand_out(project, ports)
    made = make_pair(project, place.who)
    response["Cache-Control"] = "no-store"
    return {
        "device_key": {"name": device_key_name(project.id), "content": made.private_text},
        "relay_server_key": {"name": relay_key_name(project.id), "content": relay_line + "\n"},
    }


@router.post("/projects/{project_id}/keys/relay-file", response=FileOut)
def hand_out_relay_file(request: HttpRequest, project_id: str, asked: KeysIn) -> dict[str, Any]:
    """Give the line for plain relays again, after ports were added; the pair stays as it is."""
    project = project_place(request, project_id, Right.MAKE_KEYS).project
    ports = ports_from_text(asked.ports) if asked.ports.strip() else usual_ports(project)
    return {"name": relay_key_name(project.id), "content": hand_out(project, ports) + "\n"}


def _project(member: Member) -> dict[str, Any]:
    project = member.project
    return {
        "id": project.id,
        "name": project.name,
        "role": member.role,
        "default_duration_s": project.default_duration_s,
        "needs_reason": project.needs_reason,
        "login_user": project.login_user,
        "licence_policy": project.licence_policy,
        "least_agent": project.least_agent,
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "id": member.pk,
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "since": member.since,
    }
