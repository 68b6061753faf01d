"""Grants on their way: put on a relay when signed, ended there when their session is not wanted any more.

What is to be done is read from the database each time, so nothing is lost with a worker, and doing it twice does no
harm: the relay takes the same envelope again and ends what has ended. Puts go in the order of their sequences, because a relay
refuses a lower one. An end names the highest sequence that the relay is known to have seen, so that it never overtakes
a grant that is still on its way. Called by the worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max, Value

from doorward_console.fleet.models import Relay
from doorward_console.history.writing import note
from doorward_console.maintenance import facts, sessions
from doorward_console.maintenance.commands import rehearsals
from doorward_console.maintenance.models import Grant, Session
from doorward_console.maintenance.truth import GRACE_MS
from doorward_console.times import ms_from_time

WANTED = (Session.State.REQUESTED, Session.State.OPENING, Session.State.OPEN)
AT_REST = (Session.State.CLOSED, Session.State.FAILED)


@dataclass(frozen=True, slots=True)
class ToPut:
    """A signed grant, of a session or of a rehearsal, that its relay does not have yet."""

    grant: int
    relay: str
    session: str
    envelope: bytes
    is_rehearsal: bool = False


@dataclass(frozen=True, slots=True)
class ToEnd:
    """A session that a relay has to end."""

    relay: str
    session: str
    epoch: int
    sequence: int
    why: str


@dataclass(frozen=True, slots=True)
class ToReconcile:
    """What a relay should have, as of a sequence."""

    relay: str
    epoch: int
    as_of: int
    sessions: Sequence[str]


def to_put() -> list[ToPut]:
    """List what has to be put, by relay in the order of sequences.

    Read with one statement: of two, the second might see a grant that was signed after one that the first did not see yet, and
    the relay would refuse that one as the lower.
    """
    waiting = Grant.objects.filter(state=Grant.State.SIGNED, session__state__in=WANTED, relay__removed_at__isnull=True)
    of = ("relay_id", "epoch", "sequence", "pk", "envelope")
    doors = waiting.annotate(named=F("session_id"), is_rehearsal=Value(value=False))
    both = doors.values_list(*of, "named", "is_rehearsal").union(rehearsals.to_put(*of), all=True)
    return [
        ToPut(pk, relay, session, bytes(envelope), bool(is_rehearsal))
        for relay, _, _, pk, envelope, session, is_rehearsal in sorted(both, key=lambda row: row[:3])
    ]


def to_end(now: datetime) -> list[ToEnd]:
    """List sessions that have to be ended at their relays; whatever ended by its own time long ago is left out."""
    unended = Grant.objects.exclude(state=Grant.State.ENDED).exclude(session__state__in=WANTED)
    _let_lapse(now)
    found = unended.values_list("relay_id", "session_id", "session__code").distinct()
    doors = [_end(relay, session, why) for relay, session, why in found]
    over = rehearsals.over(now)
    return [*doors, *(ToEnd(relay, session, *_seen_by(relay), "rehearsed") for relay, session in over)]


def _end(relay: str, session: str, why: str) -> ToEnd:
    Grant.objects.filter(relay=relay, session=session).exclude(state=Grant.State.ENDED).update(state=Grant.State.ENDING)
    epoch, seen = _seen_by(relay)
    return ToEnd(relay, session, epoch, seen, why or "session.turned-off")


def _seen_by(relay: str) -> tuple[int, int]:
    put = Grant.objects.filter(relay=relay, put_at__isnull=False)
    epoch = put.aggregate(highest=Max("epoch"))["highest"] or 0
    return epoch, put.filter(epoch=epoch).aggregate(highest=Max("sequence"))["highest"] or 0


def _let_lapse(now: datetime) -> None:
    """Count as ended what a relay that is out of reach has ended by itself: grant and grace are over."""
    over = now - timedelta(milliseconds=GRACE_MS)
    Grant.objects.exclude(state=Grant.State.ENDED).filter(session__state__in=AT_REST, session__ends_at__lt=over).update(
        state=Grant.State.ENDED, ended_at=now
    )


def without_grants(now: datetime) -> int:
    """Close sessions for which no relay ever had a grant to end; gives how many."""
    closing = Session.objects.filter(state=Session.State.CLOSING, grants__isnull=True)
    closing = closing.exclude(relay__kind=Relay.Kind.PLAIN).values_list("pk", flat=True)
    return sum(sessions.apply(one, facts.RelayShut(ms_from_time(now))) for one in list(closing))


def was_put(grant: int, now: datetime) -> None:
    """Note that a relay has accepted a session's grant."""
    with transaction.atomic():
        row = Grant.objects.select_for_update(no_key=True).get(pk=grant)
        if row.put_at is None:
            row.put_at = now
            row.state = Grant.State.PUT if row.state == Grant.State.SIGNED else row.state
            row.save(update_fields=["state", "put_at"])
        sessions.apply(row.session_id, facts.Stepped(facts.RELAY_GRANTED, ms_from_time(now)))


def was_not_put(grant: int, code: str, now: datetime) -> None:
    """Note that a relay refused a grant, or could not be reached: its session has failed."""
    with transaction.atomic():
        row = (
            Grant.objects.select_for_update(no_key=True, of=("self",)).select_related("session__project").get(pk=grant)
        )
        if row.state != Grant.State.SIGNED:
            return  # another worker put it, or it is being ended
        row.state, row.code = Grant.State.REFUSED, code
        row.save(update_fields=["state", "code"])
        if code in {"grant.lower-sequence", "grant.too-far-ahead", "grant.unknown-key"}:
            data = {"code": code, "relay": row.relay_id, "epoch": row.epoch, "seq": row.sequence}
            note(row.session.project, "console.alarm", session=row.session_id, data=data)
        sessions.apply(row.session_id, facts.Refused(facts.RELAY_GRANTED, ms_from_time(now), code))


def was_ended(relay: str, session: str, now: datetime) -> None:
    """Note a relay's word that nothing listens for a session; it is shut when the last of its relays has said so."""
    if rehearsals.was_ended(session):
        return
    with transaction.atomic():
        grants = Grant.objects.filter(session=session)
        grants.filter(relay=relay).exclude(state=Grant.State.ENDED).update(state=Grant.State.ENDED, ended_at=now)
        if not grants.exclude(state=Grant.State.ENDED).exists():
            sessions.apply(session, facts.RelayShut(ms_from_time(now)))


def was_not_ended(session: str, code: str, now: datetime) -> None:
    """Note why a session could not be ended at its relay yet; a rehearsal's grant ends by itself soon."""
    if rehearsals.is_one(session):
        return
    sessions.apply(session, facts.RelayFailed(ms_from_time(now), code))


@transaction.atomic
def to_reconcile(relay_id: str) -> ToReconcile:
    """List what a relay should have; the list and its sequence are of one moment."""
    relay = Relay.objects.select_for_update(no_key=True).get(pk=relay_id)
    live = Grant.objects.filter(relay=relay, state__in=(Grant.State.SIGNED, Grant.State.PUT), session__state__in=WANTED)
    sessions_there = (*live.values_list("session_id", flat=True).distinct(), *rehearsals.live_at(relay))
    return ToReconcile(relay.pk, relay.epoch, relay.sequence, sessions_there)


def were_missing(relay: str, missing: Sequence[str], now: datetime) -> None:
    """Note sessions that a relay should have and has not: it has ended them."""
    put = Grant.objects.filter(relay=relay, session__in=missing, state=Grant.State.PUT, session__state__in=WANTED)
    for session in list(put.values_list("session_id", flat=True).distinct()):
        was_ended(relay, session, now)
