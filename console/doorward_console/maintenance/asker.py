"""Who asks, whether they may, and what is written down of it: what all that can be asked for has in common."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from doorward_protocol.reasons import reason_of

from doorward_console.fleet.models import Device
from doorward_console.maintenance.models import Intent
from doorward_console.people.membership import is_entitled
from doorward_console.people.models import User
from doorward_console.people.rights import Right


class NotAsked(Exception):
    """Nothing was asked for; ``code`` says why and what to do."""

    def __init__(self, code: str) -> None:
        reason = reason_of(code)
        super().__init__(f"{reason.meaning} {reason.next}")
        self.code = code


class NotEntitled(NotAsked):
    """The person has no right to this in the device's project."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks and from where, as it goes into every record."""

    user: User
    from_address: str
    at: datetime

    @property
    def name(self) -> str:
        return self.user.email

    def facts(self, **more: Any) -> dict[str, Any]:
        return {"by": self.name, "from": self.from_address, **more}


def entitled(device: Device, user: User, from_address: str, right: Right) -> Asker:
    """Check the right of ``user`` to this in the device's project.

    Raises:
        NotEntitled: ``signer.not-entitled``.
    """
    if not is_entitled(user, device.project, right):
        raise NotEntitled("signer.not-entitled")
    return Asker(user, from_address, timezone.now())


def intent_of(device: Device, asker: Asker, kind: str, **more: Any) -> Intent:
    """Write down what is asked for; the signer decides about it."""
    made: Intent = Intent.objects.create(
        project=device.project,
        device=device,
        kind=kind,
        by=asker.user,
        by_name=asker.name,
        from_address=asker.from_address,
        at=asker.at,
        **more,
    )
    return made
