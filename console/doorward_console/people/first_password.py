"""A first password, which somebody else knows, opens nothing but the page on which its person sets their own.

Pages are held by the middleware, whatever they are, so that a new page need not think of it; the API asks for itself,
since a bearer token is read after the middleware.
"""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin

from doorward_console.people.models import User

_OPEN: Final = frozenset({"account_login", "account_logout", "account_change_password"})
_OF_THE_API: Final = "api-1"


class FirstPasswordOnly(Exception):
    """The account has not been made its person's own yet; the API refuses it with a code."""


def own_account(user: User) -> User:
    """Give the user back; raises FirstPasswordOnly while somebody else knows the password."""
    if user.has_first_password:
        raise FirstPasswordOnly
    return user


class OwnPasswordFirst(MiddlewareMixin):
    """Sends a person with a first password to the page that changes it, from every other page."""

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponse],  # noqa: ARG002  # Django's signature
        arguments: tuple[Any, ...],  # noqa: ARG002
        named: dict[str, Any],  # noqa: ARG002
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.url_name in _OPEN or _OF_THE_API in match.namespaces:
            return None
        if isinstance(request.user, User) and request.user.has_first_password:
            return redirect("account_change_password")
        return None
