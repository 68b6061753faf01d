"""Probes of plain relays: which doors the worker has to look at, how urgently, and what becomes of an answer.

A plain relay has nothing of ours that could say whether a door answers through it, so the worker looks itself. What is to
be looked at is read from the database each time; several workers may look at one door, and whoever is second changes
nothing. Called by the worker.
"""

from dataclasses import dataclass
from datetime import datetime

from doorward_console.fleet import relays
from doorward_console.fleet.models import Relay
from doorward_console.maintenance import facts, sessions
from doorward_console.maintenance.models import Session
from doorward_console.times import ms_from_time


@dataclass(frozen=True, slots=True)
class ToProbe:
    """One door to look at.

    Attributes:
        phase: changes with whatever gives reason to look closely again.
        is_awaited: somebody waits for the next answer.
    """

    session: str
    host: str
    port: int
    banner: str
    phase: str
    is_awaited: bool


def to_probe() -> list[ToProbe]:
    """List the doors of live sessions at plain relays."""
    live = Session.objects.filter(state__in=Session.LIVE, relay__kind=Relay.Kind.PLAIN).select_related("relay")
    return [_to_probe(one) for one in live]


def _to_probe(session: Session) -> ToProbe:
    is_steady = session.state == Session.State.OPEN and session.lost_at is None
    words = (session.state, session.lost_at, session.device_shut_at, session.obeyed_at, len(session.steps))
    phase = " ".join(str(word) for word in words)
    return ToProbe(session.pk, session.relay.host, session.relay_port, session.banner, phase, not is_steady)


def was_probed(session: str, code: str | None, now: datetime) -> None:
    """Note what a probe found; ``code`` is None when the session's door answered."""
    at = ms_from_time(now)
    sessions.apply(session, facts.Answered(at) if code is None else facts.Unanswered(at, code))
    if code is None:
        relay = Session.objects.values_list("relay_id", flat=True).get(pk=session)
        relays.was_seen(relay, None, now)
