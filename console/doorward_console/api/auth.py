"""Who a request of a program is: the owner of a bearer token, or the person who is signed in at the browser.

A browser's session counts only with the CSRF token in ``X-CSRFToken``; a bearer token needs none, since no browser sends
it by itself. The async twins are for operations that wait.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.session import SessionAuth

from doorward_console.people.first_password import own_account
from doorward_console.people.models import User
from doorward_console.people.tokens import user_of_token


class Bearer(HttpBearer):
    """``Authorization: Bearer doorward-token-…``."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:  # noqa: ARG002  # ninja's signature
        found = user_of_token(token)
        return None if found is None else own_account(found)


class Browser(SessionAuth):
    """The session cookie of a signed-in person."""

    def _get_key(self, request: HttpRequest) -> str | None:
        """Ask for the CSRF token only where there is a session that could be abused."""
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        return super()._get_key(request)

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:  # noqa: ARG002  # ninja's signature
        return own_account(request.user) if isinstance(request.user, User) else None


class WaitingBearer(Bearer):
    """The same, for operations that wait."""

    async def authenticate(self, request: HttpRequest, token: str) -> Any:
        return await sync_to_async(super().authenticate)(request, token)


class WaitingBrowser(Browser):
    """The same, for operations that wait."""

    async def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        return await sync_to_async(super().authenticate)(request, key)
