"""Sign-in by allauth, sign-up by invitation: nobody makes an account for themselves."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class InvitedOnly(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no type hints
    """Accounts are made by ``doorward-console init`` and by owners who add members."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002  # the adapter's signature
        """Answer no, always."""
        return False
