"""API tokens: made and shown once, kept as a SHA-256, ended by their owner."""

import hashlib
import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Final

from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from doorward_console.history.writing import note
from doorward_console.people.members import Who
from doorward_console.people.models import ApiToken, User
from doorward_console.people.queries import memberships_of

PREFIX: Final = "doorward-token-"
"""By which secret scanners and people know one."""
_RANDOM_BYTES: Final = 32
_USED_EVERY: Final = timedelta(minutes=1)
"""How exact "last used" is: a busy program would otherwise write a row for each of its requests."""


def make_token(who: Who, name: str) -> tuple[ApiToken, str]:
    """Make a token; the text is returned here and is nowhere else."""
    text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    with transaction.atomic():
        token = ApiToken.objects.create(user=who.user, name=name, digest=digest_of_token(text))
        _note_everywhere(who, "token.made", name)
    return token, text


def _note_everywhere(who: Who, verb: str, name: str) -> None:
    """Write it into the history of each project in which the token counts."""
    for member in memberships_of(who.user):
        note(member.project, verb, data={**who.named(), "name": name})


def user_of_token(text: str) -> User | None:
    """Find whose live token this is, and note that it was used."""
    token = ApiToken.objects.filter(digest=digest_of_token(text), ended_at__isnull=True).select_related("user").first()
    if token is None or not token.user.is_active:
        return None
    now = timezone.now()
    stale = Q(used_at__isnull=True) | Q(used_at__lt=now - _USED_EVERY)
    # Looking goes on where nothing can be written; what has to be written fails by itself.
    with suppress(OperationalError):
        ApiToken.objects.filter(stale, pk=token.pk).update(used_at=now)
    user: User = token.user
    return user


def end_token(who: Who, token_id: int) -> bool:
    """End one of a person's own tokens; answers no when there is no such live one."""
    with transaction.atomic():
        live = ApiToken.objects.select_for_update(no_key=True).filter(user=who.user, pk=token_id, ended_at__isnull=True)
        token: ApiToken | None = live.first()
        if token is None:
            return False
        token.ended_at = timezone.now()
        token.save(update_fields=["ended_at"])
        _note_everywhere(who, "token.ended", token.name)
    return True


def digest_of_token(text: str) -> str:
    """Give what is stored instead of a token: 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
