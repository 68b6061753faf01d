"""Who calls an operation, and where they stand: the pages' own checks, asked in the API's way."""

from django.http import Http404, HttpRequest

from doorward_console.fleet.models import Device, Relay
from doorward_console.pages.access import Place, place_for
from doorward_console.people.models import User
from doorward_console.people.rights import Right


def caller_of(request: HttpRequest) -> User:
    """Give the person in whose name the request asks."""
    user = getattr(request, "auth", None)
    if not isinstance(user, User):
        raise Http404
    return user


def project_place(request: HttpRequest, project_id: str, right: Right = Right.VIEW) -> Place:
    """Give the caller's place in a project; raises Http404 for strangers, PermissionDenied for lesser roles."""
    return place_for(request, caller_of(request), project_id, right)


def device_place(request: HttpRequest, device_id: str, right: Right = Right.VIEW) -> tuple[Place, Device]:
    """Give a device and the caller's place in its project; raises like ``project_place``."""
    found = Device.objects.filter(pk=device_id, removed_at__isnull=True).select_related("project", "relay").first()
    if found is None:
        raise Http404("There is no such device.")
    try:
        return place_for(request, caller_of(request), found.project_id, right), found
    except Http404:
        raise Http404("There is no such device.") from None


def relay_place(request: HttpRequest, relay_id: str, right: Right = Right.VIEW) -> tuple[Place, Relay]:
    """Give a relay and the caller's place in its project; raises like ``project_place``."""
    found = Relay.objects.filter(pk=relay_id, removed_at__isnull=True).select_related("project").first()
    if found is None:
        raise Http404("There is no such relay.")
    try:
        return place_for(request, caller_of(request), found.project_id, right), found
    except Http404:
        raise Http404("There is no such relay.") from None
