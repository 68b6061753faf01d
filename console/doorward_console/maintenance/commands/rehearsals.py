"""Rehearsals' grants on their way, and what came of rehearsals: for the worker, for pages, and for whoever has to know.

A grant is put before its order goes out, as a door's is; it is ended as soon as the command is over, and by the relay itself
after five minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import F, QuerySet, Value
from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import Reason, reason_of
from doorward_protocol.rehearsal import VERB, Rehearsed, rehearsed_from_result

from doorward_console.fleet.models import Device, Relay
from doorward_console.maintenance.models import Command, Rehearsal

State = Rehearsal.State
STEP_WORDS: Final = {
    "resolve": "looking up the relay's name",
    "connect": "reaching the relay",
    "host-key": "knowing the relay by its host key",
    "log-in": "logging in to the relay",
    "refusal": "being refused a port",
}
_ENDED_BY_ITSELF: Final = timedelta(seconds=30)
"""So long after its end a relay that is out of reach has ended a grant."""


def to_put(*of: str) -> "QuerySet[Any, tuple[Any, ...]]":
    """Give the columns ``of``, the session and True of each grant that its relay does not have yet."""
    waiting = Rehearsal.objects.filter(state=State.SIGNED, command__state__in=Command.TOLD)
    named = waiting.filter(relay__removed_at__isnull=True).annotate(named=F("session"), is_rehearsal=Value(value=True))
    found: QuerySet[Any, tuple[Any, ...]] = named.values_list(*of, "named", "is_rehearsal")
    return found


def without_grant() -> "QuerySet[Any, Any]":
    """Give the devices whose orders have to wait until the relay has their grant."""
    waiting = Rehearsal.objects.filter(state=State.SIGNED, command__state=Command.State.ORDERED)
    found: QuerySet[Any, Any] = waiting.values("command__device")
    return found


def was_put(rehearsal: int, code: str | None) -> Command | None:
    """Note that a relay has a grant, or why it has not; gives the command, if it still waits for that."""
    row: Rehearsal = Rehearsal.objects.select_related("command").get(pk=rehearsal)
    state = State.PUT if code is None else State.REFUSED
    is_first = Rehearsal.objects.filter(pk=rehearsal, state=State.SIGNED).update(state=state)
    return row.command if is_first and row.command.state == Command.State.ORDERED else None


def over(now: datetime) -> list[tuple[str, str]]:
    """List relays and sessions that have to be ended there: their commands are over."""
    there = Rehearsal.objects.filter(state__in=(State.SIGNED, State.PUT))
    there.filter(ends_at__lt=now - _ENDED_BY_ITSELF).update(state=State.ENDED)
    return list(there.exclude(command__state__in=Command.TOLD).values_list("relay_id", "session"))


def was_ended(session: str) -> bool:
    """Note a relay's word that a rehearsal's grant has ended; False where it is no rehearsal's."""
    return bool(Rehearsal.objects.filter(session=session).update(state=State.ENDED))


def is_one(session: str) -> bool:
    """Tell whether a session is a rehearsal's."""
    return bool(Rehearsal.objects.filter(session=session).exists())


def live_at(relay: Relay) -> Sequence[str]:
    """List the sessions of rehearsals that a relay should have."""
    live = Rehearsal.objects.filter(relay=relay, state__in=(State.SIGNED, State.PUT), command__state__in=Command.TOLD)
    return list(live.values_list("session", flat=True))


@dataclass(frozen=True, slots=True)
class Told:
    """How a device's last rehearsal went, for people.

    Attributes:
        opens_in_ms: how long a door would take; None where it would not open.
        step: what failed, in words.
    """

    at: datetime
    opens_in_ms: int | None
    step: str = ""
    reason: Reason | None = None

    @property
    def opens_in_s(self) -> str:
        """Say the time as people read it."""
        return "" if self.opens_in_ms is None else f"{self.opens_in_ms / 1000:.1f} s"


def told_of(device: Device) -> Told | None:
    """Say how the last rehearsal went; None before the first."""
    command = last_of(device)
    if command is None or command.ended_at is None:
        return None
    rehearsed = result_of(command)
    if command.state == Command.State.DONE:
        return Told(command.ended_at, rehearsed.opens_in_ms if rehearsed else None)
    failed = next((one.step for one in rehearsed.steps if one.code), "") if rehearsed else ""
    is_plain = device.relay is not None and device.relay.kind == Relay.Kind.PLAIN
    reason = reason_of(command.code, at_plain_relay=is_plain)
    return Told(command.ended_at, None, STEP_WORDS.get(failed, failed), reason)


def last_of(device: Device) -> Command | None:
    """Give the device's newest rehearsal that has ended with the device's or the relay's word."""
    ended = Command.objects.filter(device=device, verb=VERB, state__in=(Command.State.DONE, Command.State.FAILED))
    found: Command | None = ended.order_by("-ended_at").first()
    return found


def result_of(command: Command) -> Rehearsed | None:
    """Read what a device told of its rehearsal; None where it told nothing that can be read."""
    try:
        return None if command.result is None else rehearsed_from_result(command.result)
    except Malformed:
        return None


def has_rehearsed_well(device: Device, since: datetime) -> bool:
    """Tell whether the device has reached its relay as a door would, in a rehearsal that began after ``since``."""
    well = Command.objects.filter(device=device, verb=VERB, state=Command.State.DONE, begun_at__gte=since)
    return bool(well.exists())
