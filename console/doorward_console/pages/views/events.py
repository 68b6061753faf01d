"""The live stream: one line whenever there is news, to every browser that shows a project.

A stream says only that there is news; the page then asks for its parts again, as the person that it is, so nothing is
said here that a page would not say. Whoever is no member any more is let go at the next wake. Between looks a stream
holds no database connection: with PostgreSQL a hundred open pages would otherwise be a hundred connections.
"""

from collections.abc import AsyncIterator
from typing import Final

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from doorward_console.pages.access import place_of
from doorward_console.pages.chimes import chime
from doorward_console.pages.news import device_look, project_look
from doorward_console.people.models import User
from doorward_console.people.queries import membership

_LOOK_EVERY_S: Final = 15.0
"""The fallback where a ring was missed, and the sign of life that keeps proxies from closing a silent stream."""


@require_safe
def events(request: HttpRequest, project_id: str) -> HttpResponseBase:
    """Stream ``news`` whenever what the page shows has changed; 401 and 404 end it for good."""
    if isinstance(request.user, AnonymousUser):
        return HttpResponse("Sign in first.", status=401, content_type="text/plain")
    place = place_of(request, project_id)
    known = request.headers.get("Last-Event-ID") or request.GET.get("known", "")
    lines = _lines(place.user, project_id, request.GET.get("device", ""), known)
    return StreamingHttpResponse(
        lines, content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _lines(user: User, project_id: str, device_id: str, known: str) -> AsyncIterator[str]:
    bell = chime()
    yield "retry: 2000\n\n"
    while True:
        heard = bell.count
        seen = await sync_to_async(_look)(user, project_id, device_id)
        if seen is None:
            yield "event: gone\ndata: you are no member of this project any more\n\n"
            return
        yield f"id: {seen}\nevent: news\ndata: {seen}\n\n" if seen != known else ": still here\n\n"
        known = seen
        await bell.wait(heard, _LOOK_EVERY_S)


def _look(user: User, project_id: str, device_id: str) -> str | None:
    """Look once and let go of the connection; None for who is no member."""
    try:
        fresh = User.objects.filter(pk=user.pk).first()
        if fresh is None or membership(fresh, project_id) is None:
            return None
        return device_look(project_id, device_id) if device_id else project_look(project_id)
    except (Http404, PermissionDenied):
        return None
    finally:
        connection.close()
