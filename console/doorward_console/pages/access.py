"""Whether a person may see a page: found from their membership alone, on every request.

A project of which one is no member looks like one that does not exist; a right that one's role lacks is named.
"""

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from doorward_console.fleet.models import Device, Relay
from doorward_console.people.members import Who
from doorward_console.people.models import Member, Project, User
from doorward_console.people.queries import membership
from doorward_console.people.rights import Right, may

_HOLDERS = {
    Right.TOGGLE: "its owner and its admins",
    Right.MANAGE_DEVICES: "its owner and its admins",
    Right.MANAGE_RELAYS: "its owner and its admins",
    Right.MANAGE_MEMBERS: "its owner",
    Right.MANAGE_PROJECT: "its owner",
    Right.MAKE_KEYS: "its owner",
    Right.LOG_IN: "its owner, admins and engineers",
    Right.MESSAGE: "its owner, admins and engineers",
    Right.REFRESH: "its owner, admins and engineers",
    Right.REBOOT: "its owner and its admins",
    Right.SUSPEND: "its owner and its admins",
    Right.SHUT_DOWN: "its owner and its admins",
    Right.RESET: "its owner",
    Right.VIEW: "its members",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signed-in person stands: a project, and what they may do in it."""

    member: Member
    who: Who

    @property
    def project(self) -> Project:
        return self.member.project

    @property
    def user(self) -> User:
        return self.who.user

    @property
    def can(self) -> dict[str, bool]:
        """Give every right by its name in templates."""
        return {right.name.lower(): may(self.member.role, right) for right in Right}


def user_of(request: HttpRequest) -> User:
    """Give the signed-in person; only for views behind ``login_required`` or the API's own check."""
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied("Sign in first.")
    return user


def who_asks(request: HttpRequest, user: User) -> Who:
    """Name the person and the address that their request came from."""
    return Who(user, request.META.get("REMOTE_ADDR", ""))


def place_of(request: HttpRequest, project_id: str, right: Right = Right.VIEW) -> Place:
    """Give the person's place in a project; raises Http404 for strangers, PermissionDenied for lesser roles."""
    return place_for(request, user_of(request), project_id, right)


def place_for(request: HttpRequest, user: User, project_id: str, right: Right = Right.VIEW) -> Place:
    """Give ``user``'s place in a project; raises like ``place_of``."""
    member = membership(user, project_id)
    if member is None:
        raise Http404("There is no such project, or you are no member of it.")
    ensure(member, right)
    return Place(member, who_asks(request, user))


def ensure(member: Member, right: Right) -> None:
    """Raise PermissionDenied, with a sentence, unless the member's role includes the right."""
    if not may(member.role, right):
        raise PermissionDenied(
            f"In this project that is for {holders_of(right)}; you are {_article(member.role)} {member.role}."
        )


def holders_of(right: Right) -> str:
    """Say who in a project has a right, in words that follow "for" or "ask"."""
    return _HOLDERS[right]


def _article(word: str) -> str:
    return "an" if word[:1] in "aeio" else "a"


def device_at(place: Place, device_id: str) -> Device:
    """Give a device of the project; raises Http404."""
    found: Device | None = (
        Device.objects.filter(project=place.project, pk=device_id, removed_at__isnull=True)
        .select_related("project", "relay")
        .first()
    )
    if found is None:
        raise Http404("There is no such device in this project.")
    return found


def relay_at(place: Place, relay_id: str) -> Relay:
    """Give a relay of the project; raises Http404."""
    found: Relay | None = Relay.objects.filter(project=place.project, pk=relay_id, removed_at__isnull=True).first()
    if found is None:
        raise Http404("There is no such relay in this project.")
    return found
