"""How what is open or asked for on a device is ended at once: within the caller's transaction, without waiting for the signer.

Used by whatever ends: turning off, blocking, removing. The worker then ends the grant on the relay, and the signer signs the
device's order to shut.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from doorward_console.edges import reserve
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.maintenance.models import Intent, Order, Session

LATELY: Final = timedelta(minutes=1)


@contextmanager
def held(device: Device) -> Iterator[None]:
    """Hold the device's row for one transaction (SQLite holds the whole file) and see as it is now whether it is blocked or removed."""
    with transaction.atomic():
        rows = Device.objects.select_for_update(no_key=True).values_list("state", "removed_at")
        device.state, device.removed_at = rows.get(pk=device.pk)
        yield


def live_session(device: Device) -> Session | None:
    """Give the device's session that has not ended; there is at most one."""
    live: Session | None = Session.objects.filter(device=device, state__in=Session.LIVE).first()
    return live


def start_closing(device: Device, code: str, by: str, at: datetime) -> None:
    """Set a live session to closing and drop orders for the door that are not on their way yet."""
    Session.objects.filter(
        device=device, state__in=(Session.State.REQUESTED, Session.State.OPENING, Session.State.OPEN)
    ).update(state=Session.State.CLOSING, code=code, closing_at=at, closed_by_name=by)
    Order.objects.filter(device=device, part="door", state__in=(Order.State.ASKED, Order.State.SIGNED)).update(
        state=Order.State.DROPPED
    )


def is_under_way(now: datetime) -> bool:
    """Tell whether anything was asked to be shut and is not yet, or since a minute at most: a relay may be away for days."""
    closing = Session.objects.filter(state=Session.State.CLOSING, closing_at__gte=now - LATELY)
    asked = Intent.objects.filter(kind=Intent.Kind.OFF, state=Intent.State.ASKED)
    return bool(asked.exists() or closing.exists())


def make_room(now: datetime) -> bool:
    """Give the reserve back where something is being shut and the disk has no room for it; tells whether it was."""
    with suppress(DatabaseError):
        return reserve.kept() > 0 and is_under_way(now) and reserve.give_back()
    return False


def keep_room(now: datetime) -> None:
    """Take the reserve, or take it again, while nothing is being shut."""
    if not is_under_way(now):
        reserve.take()


def void(device: Device, code: str) -> list[str]:
    """Refuse what nobody has decided about yet; give the sessions that will never be."""
    waiting = list(undecided(device, Intent.Kind.ON, Intent.Kind.EXTEND))
    for intent in waiting:
        refuse(intent, code)
    return [name for intent in waiting if (name := session_named(intent)) is not None]


def undecided(device: Device, *kinds: str) -> "QuerySet[Intent]":
    """List what was asked for and nobody has decided about, oldest first."""
    waiting = Intent.objects.filter(device=device, kind__in=kinds, state=Intent.State.ASKED)
    found: QuerySet[Intent] = waiting.order_by("id")
    return found


def session_named(intent: Intent) -> str | None:
    """Name the session that an ON would become."""
    return (intent.values or {}).get("session")


def refuse(intent: Intent, code: str) -> None:
    """Refuse what was asked for, and write it down."""
    intent.state, intent.code = Intent.State.REFUSED, code
    intent.save(update_fields=["state", "code"])
    session = session_named(intent)
    note(intent.project, "session.refused", session=session, device=intent.device_id, data={"code": code})
