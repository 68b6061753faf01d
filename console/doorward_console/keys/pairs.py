"""The engineers' key pair of a project (E1): made in one step, its private half given to the caller and to nobody else.

The caller shows it once. Nothing here writes it anywhere: not to the database, not to a log; its repr is ``***``.
"""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.utils import timezone

from doorward_console.history.writing import note
from doorward_console.keys.models import EngineerPair, Key
from doorward_console.people.members import Who
from doorward_console.people.models import Project


@dataclass(frozen=True, slots=True)
class NewPair:
    """A pair that was just made; ``private_text`` is the whole file, in OpenSSH's format."""

    pair: EngineerPair
    private_text: str = field(repr=False)


def make_pair(project: Project, who: Who) -> NewPair:
    """Make the project's pair, in place of the one before: sessions opened from now on admit the new one alone."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        before = EngineerPair.objects.filter(project=project, replaced_at__isnull=True)
        verb = "keys.replaced" if before.update(replaced_at=timezone.now()) else "keys.made"
        pair = EngineerPair.objects.create(project=project, public_key=public.decode(), made_by=who.user)
        note(project, verb, data={**who.named(), "public_key": public.decode()})
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return NewPair(pair, text.decode())


def live_pair(project: Project) -> EngineerPair | None:
    """Find the project's pair in use."""
    live = EngineerPair.objects.filter(project=project, replaced_at__isnull=True)
    found: EngineerPair | None = live.select_related("made_by").first()
    return found


def public_of(project: Project, kind: str) -> str | None:
    """Give the public part of one of the project's keys (``Key.Kind``); None when it has not been made."""
    live = Key.objects.filter(project=project, kind=kind, retired_at__isnull=True)
    found: str | None = live.values_list("public", flat=True).first()
    return found
