"""Three addresses for machines that look after the console, the same as the relay's (protocol.md §7): no sign-in, no secret.

``/healthz`` says that the process answers, ``/readyz`` that its database does, too, ``/version`` which version it is.
"""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from doorward_console import __version__

_PROTOCOL_VERSIONS = (1,)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer."""
    del request
    return JsonResponse({"ok": True})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when requests can be served, 503 when the database cannot be asked."""
    del request
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
            is_there = cursor.fetchone() is not None
    except DatabaseError:
        is_there = False
    return JsonResponse({"ok": is_there, "database": is_there}, status=200 if is_there else 503)


@never_cache
@require_safe
def version(request: HttpRequest) -> JsonResponse:
    """Name the version, and those of the protocol that it speaks."""
    del request
    return JsonResponse({"version": __version__, "protocol": list(_PROTOCOL_VERSIONS)})
