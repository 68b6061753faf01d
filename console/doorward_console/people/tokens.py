"""API tokens: made and shown once, kept as a SHA-256, ended by their owner."""

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from doorward_console.people.models import ApiToken, User

PREFIX: Final = "doorward-token-"
"""By which secret scanners and people know one."""
_RANDOM_BYTES: Final = 32
_USED_EVERY: Final = timedelta(minutes=1)
"""How exact "last used" is: a busy program would otherwise write a row for each of its requests."""


def make_token(user: User, name: str) -> tuple[ApiToken, str]:
    """Make a token; the text is returned here and is nowhere else."""
    text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return ApiToken.objects.create(user=user, name=name, digest=digest_of_token(text)), text


def user_of_token(text: str) -> User | None:
    """Find whose live token this is, and note that it was used."""
    token = ApiToken.objects.filter(digest=digest_of_token(text), ended_at__isnull=True).select_related("user").first()
    if token is None or not token.user.is_active:
        return None
    now = timezone.now()
    stale = Q(used_at__isnull=True) | Q(used_at__lt=now - _USED_EVERY)
    ApiToken.objects.filter(stale, pk=token.pk).update(used_at=now)
    user: User = token.user
    return user


def end_token(user: User, token_id: int) -> bool:
    """End one of a person's own tokens; answers no when there is no such live one."""
    live = ApiToken.objects.filter(user=user, pk=token_id, ended_at__isnull=True)
    return bool(live.update(ended_at=timezone.now()))


def digest_of_token(text: str) -> str:
    """Give what is stored instead of a token: 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
