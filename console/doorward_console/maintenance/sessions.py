"""Sessions in the database: facts go in, and what is true of them is stored with the records that are owed for it.

Each call is one transaction that holds the session's row. Called by the worker; what follows from a fact is decided in
``truth``.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from doorward_protocol.records import Record

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Relay
from doorward_console.history.writing import note
from doorward_console.maintenance.facts import Fact, TimePassed, fact_from_record
from doorward_console.maintenance.models import Desired, Session
from doorward_console.maintenance.truth import Outcome, Standing, State, Step, after
from doorward_console.people.models import Project
from doorward_console.times import ms_from_time, ms_from_time_or_none, time_from_ms_or_none


def hear_records(project: str, records: Iterable[Record], now: datetime) -> int:
    """Apply what joined records say of their sessions; gives how many sessions changed."""
    changed = 0
    for record in records:
        _hear_alarm(project, record)
        fact = fact_from_record(record, ms_from_time(now))
        session = None if fact is None else _session_of(project, record)
        if fact is not None and session is not None:
            changed += apply(session, fact)
    return changed


def _session_of(project: str, record: Record) -> str | None:
    """Name the session that a record is about, if its author may speak of it: the session's own device or relay."""
    found = Session.objects.filter(project=project)
    kind, _, author = record.author.partition(":")
    found = found.filter(device=author) if kind == "device" else found.filter(relay=author)
    if record.fact.session is not None:
        found = found.filter(id=record.fact.session)
    else:
        found = found.filter(id__in=_ordered_session(record, author))
    named: str | None = found.values_list("id", flat=True).first()
    return named


def _ordered_session(record: Record, device: str) -> Sequence[str]:
    """Find the session of the door order that a record answers by its revision."""
    data = record.fact.data
    epoch, revision = (data.get(f"offered_{name}", data.get(name)) for name in ("epoch", "revision"))
    if data.get("part") != "door" or not isinstance(epoch, int) or not isinstance(revision, int):
        return ()
    desired = Desired.objects.filter(device=device, part="door", epoch=epoch, revision=revision)
    return list(desired.filter(session__isnull=False).values_list("session_id", flat=True))


def _hear_alarm(project: str, record: Record) -> None:
    """Raise an alarm for what only an administrator can mend."""
    author = record.author.partition(":")[2]
    code = _SAYS_IT_ALL.get(record.fact.verb, record.fact.data.get("code"))
    if record.fact.verb not in {"order.refused", *_SAYS_IT_ALL} or not isinstance(code, str) or code not in _ALARMING:
        return
    if code == "order.lower-revision" and not _holds_more(author, record.fact.data):
        return  # an order that came late; the device has obeyed a newer one of ours
    data = {"code": code, "author": record.author, "n": record.head.n}
    held = {name: record.fact.data.get(name) for name in ("part", "held_epoch", "held_revision")}
    note(Project.objects.get(pk=project), "console.alarm", device=author, data=data | held)


def _holds_more(device: str, data: Mapping[str, Any]) -> bool:
    """Tell whether a device says that it has obeyed a later order than this console knows of."""
    held = (data.get("held_epoch"), data.get("held_revision"))
    desired = Desired.objects.filter(device=device, part=str(data.get("part"))).first()
    known = (0, 0) if desired is None else (desired.epoch, desired.revision)
    return all(isinstance(one, int) for one in held) and held > known


_SAYS_IT_ALL: Final = {"history.forked": "history.forked", "settings.failed": "settings.not-reverted"}
"""Verbs that mean one code, whatever else the record says."""
_ALARMING: Final = frozenset({
    "order.lower-revision", "order.other-digest", "order.too-far-ahead", *_SAYS_IT_ALL.values(),
})  # fmt: skip
"""What a device says that does not mend itself and that no operator of a door can mend."""


def apply(session: str, fact: Fact) -> bool:
    """Apply one fact to one session; tells whether anything changed."""
    with transaction.atomic():
        # The session's row alone: whoever holds the device's row and then wants the session's would wait for us for ever.
        row = (
            Session.objects.select_for_update(no_key=True, of=("self",))
            .select_related("project", "device", "relay")
            .get(pk=session)
        )
        before = standing_of(row)
        outcome = after(before, fact)
        if outcome.standing == before:
            return False
        _store(row, outcome.standing)
        _owe(row, outcome)
        ring("web")
        return True


def apply_time(now: datetime) -> int:
    """Let time pass for every session that has not ended; gives how many changed."""
    live = Session.objects.filter(state__in=Session.LIVE).select_related("device", "relay")
    return sum(_pass_time(row, now) for row in live)


def _pass_time(row: Session, now: datetime) -> bool:
    device = row.device
    since = device.presence_at or row.requested_at
    fact = TimePassed(ms_from_time(now), device.presence == "connected", ms_from_time(since))
    if after(standing_of(row), fact).standing == standing_of(row):
        return False  # without a transaction: this is the everyday case, every second
    return apply(row.pk, fact)


def standing_of(row: Session) -> Standing:
    """Read a row as ``truth`` wants it."""
    return Standing(
        state=State(row.state),
        requested_at=ms_from_time(row.requested_at),
        ends_at=ms_from_time(row.ends_at),
        code=row.code,
        steps=tuple(Step(one["step"], one["at"], one["code"]) for one in row.steps),
        opened_at=ms_from_time_or_none(row.opened_at),
        lost_at=ms_from_time_or_none(row.lost_at),
        closing_at=ms_from_time_or_none(row.closing_at),
        closed_at=ms_from_time_or_none(row.closed_at),
        device_shut_at=ms_from_time_or_none(row.device_shut_at),
        relay_shut_at=ms_from_time_or_none(row.relay_shut_at),
        obeyed_at=ms_from_time_or_none(row.obeyed_at),
        is_plain=row.relay.kind == Relay.Kind.PLAIN,
    )


_TIMES: Final = ("opened_at", "lost_at", "closing_at", "closed_at", "device_shut_at", "relay_shut_at", "obeyed_at")


def _store(row: Session, standing: Standing) -> None:
    old = standing_of(row)
    row.state, row.code = standing.state.value, standing.code
    row.steps = [{"step": one.step, "at": one.at, "code": one.code} for one in standing.steps]
    for name in _TIMES:
        if getattr(old, name) != getattr(standing, name):
            setattr(row, name, time_from_ms_or_none(getattr(standing, name)))
    row.save(update_fields=["state", "code", "steps", *_TIMES])


def _owe(row: Session, outcome: Outcome) -> None:
    for owed in outcome.notes:
        note(row.project, owed.verb, session=row.pk, device=row.device_id, data=dict(owed.data))
    if outcome.asks_shut:
        ring("signer")  # it tells a device to shut whose session has ended, without being asked by name
