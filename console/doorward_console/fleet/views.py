"""``POST /api/join``: the one address that a device calls over HTTPS, once.

No session, no cookie, no person: the token in the body is the right. Answers are bounded and say no more than the code.
"""

from http import HTTPStatus
from typing import Final

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from doorward_protocol.reasons import reason_of

from doorward_console.fleet.joining import JoinRefused, join, request_from_json

_LARGEST: Final = 32_768
"""A join request is some 2 KiB; 32 short facts make it longer."""
_TRIES_A_MINUTE: Final = 30
"""From one address, which may be a factory's NAT; a token of 130 bits needs no more protection than this."""
_STATUS: Final = {
    "join.bad-token": HTTPStatus.FORBIDDEN,
    "join.malformed": HTTPStatus.BAD_REQUEST,
    "join.other-identity": HTTPStatus.CONFLICT,
    "join.refused": HTTPStatus.SERVICE_UNAVAILABLE,
    "signer.blocked": HTTPStatus.FORBIDDEN,
}


@csrf_exempt  # devices have no cookie that another site could ride on
@require_POST
async def join_device(request: HttpRequest) -> JsonResponse:
    """Let the device join that shows a good token."""
    address = request.META.get("REMOTE_ADDR", "")
    if _tries(address) > _TRIES_A_MINUTE:
        return _no("join.bad-token", HTTPStatus.TOO_MANY_REQUESTS)
    if int(request.headers.get("Content-Length") or 0) > _LARGEST:
        return _no("join.malformed", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        return JsonResponse(await join(request_from_json(request.body), address))
    except JoinRefused as refused:
        return _no(refused.code, _STATUS.get(refused.code, HTTPStatus.FORBIDDEN))


def _tries(address: str) -> int:
    """Count this try; the count is this process's own and starts anew every minute."""
    name = f"join-tries-{address}"
    cache.add(name, 0, 60)
    try:
        return cache.incr(name)
    except ValueError:  # the minute ended between the two calls
        return 1


def _no(code: str, status: HTTPStatus) -> JsonResponse:
    reason = reason_of(code)
    return JsonResponse({"code": code, "message": reason.meaning, "next": reason.next}, status=status)
