"""Policy: the small decisions of the agent, each a function of its arguments.

How long to wait, which relay is next, what an order means for the session at hand. Chance arrives as ``chance``, a
number from 0 up to but not including 1.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from doorward_protocol.ids import SessionId
from doorward_protocol.orders import OpenDoor, RelayRoute

from doorward_agent.effects import CloseDoor
from doorward_agent.events import (
    UNSAID,
    DoorFacts,
    DoorFailed,
    DoorFound,
    DoorGone,
    ForwardTold,
    Ordered,
    OrderedShut,
    RunnerReported,
    TunnelEnded,
    TunnelFailed,
    TunnelOpened,
)

FIRST_RETRY_MS: Final = 1_000
LONGEST_RETRY_MS: Final = 60_000
"""Longer waits were met as "gone for an hour after a short outage" in other agents; shorter ones as storms."""
SHORTEST_RETRY_MS: Final = 100
STEADY_MS: Final = 60_000
"""A connection that lasted this long was a good one: the next wait begins small again."""
ORDER_WAIT_MS: Final = 20_000
"""How long an attempt waits for the console to sign the order again."""

DOOR: Final = "door"
TUNNEL: Final = "tunnel"


STALE: Final = "order.stale-nonce"
"""The runner's word that another order was quicker; no fault of anybody's."""


@dataclass(frozen=True, slots=True)
class Session:
    """The session at hand.

    Attributes:
        order: what was ordered; None when the agent was restarted and has not been told again.
        envelope: an order that the runner has not judged yet, or None.
        calls: how many orders the runner is working on; each is answered.
        spare: the same order signed again while the runner works on it, should it find the earlier one's nonce used up.
        port: the loopback port to propose for the door.
        deadline_ms: its end by the boot-time clock; None when that is not known.
        door_port: where the door answers; None while there is none.
        facts: what the runner said of the door.
        attempt: number of the tunnel attempt that is under way or was last; fences late events.
        failures: attempts in a row that came to nothing.
        steady_from_ms: when the tunnel counts as steady.
        code: reason of the last failure since it was last open.
        unfinished: which halves still have to end.
        why: reason code of its end.
        forwards: what was last told of named forwards behind the tunnel that is up: by name, why not, or None where it is open.
    """

    id: SessionId
    order: OpenDoor | None = None
    envelope: bytes | None = None
    calls: int = 0
    spare: bytes | None = None
    port: int = 0
    deadline_ms: int | None = None
    door_port: int | None = None
    facts: DoorFacts = UNSAID
    attempt: int = 0
    failures: int = 0
    steady_from_ms: int = 0
    code: str | None = None
    unfinished: frozenset[str] = frozenset()
    why: str | None = None
    forwards: Mapping[str, str | None] = field(default_factory=dict)


def retry_delay_ms(failures: int, chance: float) -> int:
    """Give the wait before the next attempt: full jitter under a ceiling that doubles from 1 s to 60 s."""
    ceiling = min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** min(failures, 16))
    return SHORTEST_RETRY_MS + int(chance * (ceiling - SHORTEST_RETRY_MS))


def is_same_session(event: Ordered, session: Session | None) -> bool:
    return session is None or event.order.session == session.id


def shuts(event: OrderedShut, session: Session | None) -> bool:
    """Tell whether a shut order is about the session at hand."""
    return session is not None and event.session in (None, session.id)


def is_final(event: DoorFailed) -> bool:
    """Tell whether the runner's no is about the order itself, so that trying again cannot help.

    A stale nonce is not: the runner renews its nonce, and the same order signed again is welcome.
    """
    return event.code.startswith("order.") and event.code != STALE


def is_stale(event: TunnelOpened | TunnelFailed | TunnelEnded | ForwardTold, session: Session | None) -> bool:
    """Tell whether a tunnel's event is of an attempt that was given up."""
    return session is None or event.attempt != session.attempt


def route_of(session: Session, order: OpenDoor) -> RelayRoute:
    """Choose the relay: the next one at each attempt."""
    return order.relays[(session.attempt - 1) % len(order.relays)]


def needs_order(session: Session) -> bool:
    """Tell whether the console has to sign the order again before an attempt makes sense."""
    has_door = session.door_port is not None or session.envelope is not None or session.calls > 0
    return session.order is None or not has_door


def after_failure(session: Session, code: str, now_ms: int) -> Session:
    """Count a failure; one after a steady time begins the count anew."""
    was_steady = session.steady_from_ms and now_ms >= session.steady_from_ms
    failures = 0 if was_steady else session.failures + 1
    return replace(session, code=code, failures=failures, steady_from_ms=0)


def deadline_of(order: OpenDoor, accepted_ms: int, offset_ms: int) -> int:
    """Give a session's end by the boot-time clock: by console time, and never later than its duration allows."""
    return min(order.ends_at - offset_ms, accepted_ms + order.duration_s * 1000)


def is_worth_signing(verbs: Sequence[str]) -> bool:
    """Tell whether these unsent records call for the signature library.

    An agent that only started, or refused what was no order, stays small; those records go out with the next ones.
    """
    return any(verb not in {"agent.started", "order.refused"} for verb in verbs)


def compared(
    report: RunnerReported, session: Session | None, ended: Collection[SessionId], known_ms: int | None
) -> DoorGone | DoorFound | CloseDoor | None:
    """Say what follows from the runner's word about its door; ``known_ms`` is that session's end, where it was written down."""
    if report.session is None:
        return None if session is None or session.door_port is None else DoorGone(session.id)
    if session is not None:
        return None
    if report.session in ended:
        return CloseDoor(report.session)
    return DoorFound(report.session, report.port or 0, known_ms, report.facts)
