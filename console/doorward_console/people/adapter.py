"""Sign-in by allauth, sign-up by invitation: nobody makes an account for themselves."""

from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from doorward_console.people.models import User


class InvitedOnly(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no type hints
    """Accounts are made by ``doorward-console init`` and by owners who add members."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002  # the adapter's signature
        """Answer no, always."""
        return False

    def clean_password(self, password: str, user: User | None = None) -> str:
        """Check a new password; raises ValidationError, also for keeping the one that somebody else handed over."""
        if isinstance(user, User) and user.has_first_password and user.check_password(password):
            raise ValidationError("Choose a password that is not the one that you were given.")
        return str(super().clean_password(password, user))

    def set_password(self, user: User, password: str) -> None:
        """Set a person's own password: from now on the account is theirs alone."""
        user.has_first_password = False
        super().set_password(user, password)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:  # noqa: ARG002  # the adapter's signature
        """Go on to the projects."""
        return reverse("home")
