"""The API as one object: its parts, who is let in, and how every refusal is said."""

from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from doorward_protocol.reasons import reason_of
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.docs import ABS_TPL_PATH, Swagger

from doorward_console import __doc__ as _room
from doorward_console.api import commands, devices, doors, forwards, history, licences, projects, relays, settings
from doorward_console.api.auth import Bearer, Browser
from doorward_console.declined import Declined
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.documents.asking import NotValid
from doorward_console.people.first_password import FirstPasswordOnly


class _Page(Swagger):
    """The API's own page with our own files, where ninja is none of Django's apps and would have a stranger's server asked."""

    template_cdn = str(ABS_TPL_PATH / "swagger.html")


api = NinjaAPI(
    title="doorward",
    version="1",
    description=(_room or "").strip(),
    urls_namespace="api-1",
    auth=[Bearer(), Browser()],
    docs=_Page(),
    docs_url="/docs",
    openapi_extra={"info": {"license": {"name": "Apache-2.0"}}},
)
api.add_router("", projects.router)
api.add_router("", devices.router)
api.add_router("", doors.router)
api.add_router("", forwards.router)
api.add_router("", commands.router)
api.add_router("", settings.router)
api.add_router("", licences.router)
api.add_router("", relays.router)
api.add_router("", history.router)

_Said = tuple[int, str, str, str]
"""A status, a code, what happened, what to do."""


def _of_stranger(_: Exception) -> _Said:
    return 401, "http.401", "The request names nobody.", "Send a token: Authorization: Bearer doorward-token-…"


def _of_first_password(_: Exception) -> _Said:
    message = "Somebody else chose this account's password."
    return 403, "account.first-password", message, "Sign in at /password/ and set one of your own."


def _of_missing(error: Exception) -> _Said:
    message = str(error) or "There is nothing at this address."
    return 404, "http.404", message, "Check the id; what is not yours looks like what is not there."


def _of_forbidden(error: Exception) -> _Said:
    return 403, "http.403", str(error) or "Your role does not include this.", "Ask the project's owner."


def _of_http(error: Exception) -> _Said:
    status = error.status_code if isinstance(error, HttpError) else 400
    if status == 403:
        return 403, "http.csrf", "A browser's session needs its CSRF token.", "Send it as X-CSRFToken, or use a token."
    return status, f"http.{status}", str(error), "Look at what the program sends."


def _of_malformed(error: Exception) -> _Said:
    faults = error.errors if isinstance(error, ValidationError) else []
    said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in faults[:5])
    return 422, "http.422", f"The request has faults: {said}", "Compare it with /api/v1/docs."


def _of_declined(error: Exception) -> _Said:
    if not isinstance(error, Declined):
        raise error
    return 409, error.code, error.message, error.next


def _of_not_asked(error: Exception) -> _Said:
    if not isinstance(error, NotAsked):
        raise error
    reason = reason_of(error.code)
    return 403 if isinstance(error, NotEntitled) else 409, reason.code, reason.meaning, reason.next


_SAYINGS: Final[tuple[tuple[type[Exception], Callable[[Exception], _Said]], ...]] = (
    (AuthenticationError, _of_stranger),
    (FirstPasswordOnly, _of_first_password),
    (Http404, _of_missing),
    (PermissionDenied, _of_forbidden),
    (HttpError, _of_http),
    (ValidationError, _of_malformed),
    (Declined, _of_declined),
    (NotAsked, _of_not_asked),
)


def _answering(say: Callable[[Exception], _Said]) -> Callable[[HttpRequest, Any], HttpResponse]:
    def answer(request: HttpRequest, error: Exception) -> HttpResponse:
        status, code, message, next_step = say(error)
        return api.create_response(request, {"code": code, "message": message, "next": next_step}, status=status)

    return answer


def _answer_not_valid(request: HttpRequest, error: Any) -> HttpResponse:
    """Say every fault with its place, for programs, and all of them in one sentence."""
    reason = reason_of("settings.not-valid")
    faults = [{"path": fault.path, "says": fault.says} for fault in error.faults]
    said = {"code": reason.code, "message": error.message, "next": reason.next, "faults": faults}
    return api.create_response(request, said, status=409)


api.add_exception_handler(NotValid, _answer_not_valid)
for _kind, _say in _SAYINGS:
    api.add_exception_handler(_kind, _answering(_say))
