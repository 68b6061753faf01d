"""The reaper: which tunnels lead nowhere any more, decided from what the kernel and the probe saw.

A device that lost its network, or whose tunnel's program hangs, leaves a connection behind that holds its port. sshd
counts unanswered keep-alives only while nothing else happens, so an engineer who keeps trying to connect keeps the
dead tunnel alive. Two proofs end one here, neither a guess about how fast a device ought to be: the kernel has sent the same bytes
again and again and nothing came back (no link), or not a byte came although keep-alives were due and one probe after
another went unanswered (no program). A device that is slow answers the forwarding itself at once, and one byte clears
it. Used by ``runtime`` after each look; the limits are ADR 20's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact

from doorward_relay.effects import DoubtDoor, Effect, EndTunnel, WriteRecord
from doorward_relay.view import Pulse, TunnelKey, View
from doorward_relay.watch import KnownTunnel

KEEPALIVE_S: Final = 10
"""Both kinds of relay say something to a silent device so often: a living one is never silent for longer."""
KEEPALIVES: Final = 6
"""After so many in a row the ssh server ends it by itself: for the time when nobody looks."""
_APART_S: Final = 2.0
_GOLDEN: Final = 0.6180339887
"""Multiples of it, without their whole part, lie as evenly as any (low discrepancy), however many there are."""
UNACKNOWLEDGED_MS: Final = 20_000
LEAST_RETRANSMITS: Final = 5
"""On a link that loses every fifth packet each way, eight tries fail together once in 3,500 times; on a slow link, whose
kernel waits longer before it tries again, the count makes this patient."""
DOUBT_MS: Final = 12_000
"""A keep-alive was due and is unanswered: time to probe."""
UNHEARD_MS: Final = 25_000
LEAST_UNANSWERED: Final = 3


@dataclass(frozen=True, slots=True)
class Felt:
    """What the last look left behind.

    Attributes:
        since: when each connection was first seen sending again what was not acknowledged (ms).
        ended: connections that were found dead, so that each is recorded once.
    """

    since: Mapping[TunnelKey, int] = field(default_factory=dict)
    ended: frozenset[TunnelKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Reaped:
    """What is known after a look, and what is to be done."""

    felt: Felt
    effects: tuple[Effect, ...] = ()


def keepalive_s(number: int) -> float:
    """Give how long the ``number``-th connection of an embedded relay may be silent before something is said to it.

    A little less than ``KEEPALIVE_S``, and no two alike: those that dialled in the same instant would else be spoken to in the
    same instant for ever, hundreds in one go, while somebody types.
    """
    return KEEPALIVE_S - _APART_S * (number * _GOLDEN % 1)


def reap(
    felt: Felt, tunnels: Iterable[KnownTunnel], view: View, unanswered: Mapping[SessionId, int], *, now: int
) -> Reaped:
    """Judge each tunnel that is up; ``unanswered`` counts probes in a row that its session's door did not answer.

    One without a pulse is well, or the kernel does not tell.
    """
    if not view.pulses:
        return Reaped(Felt())
    since: dict[TunnelKey, int] = {}
    ended: set[TunnelKey] = set()
    effects: list[Effect] = []
    for one in tunnels:
        pulse = view.pulses.get(one.tunnel.number)
        if not one.is_up or one.session is None or pulse is None:
            continue
        key = one.tunnel.key
        if pulse.retransmits:
            since[key] = felt.since.get(key, now)
        why = _why_dead(pulse, now - since.get(key, now), unanswered.get(one.session, 0))
        if why is not None:
            ended.add(key)
            effects += [*([] if key in felt.ended else [_found_dead(one, pulse, why)]), EndTunnel(one.tunnel)]
        elif pulse.heard_ms >= DOUBT_MS:
            effects.append(DoubtDoor(one.session))
    return Reaped(Felt(since, frozenset(ended)), tuple(effects))


def _why_dead(pulse: Pulse, repeating_ms: int, unanswered: int) -> str | None:
    unacknowledged_ms = min(repeating_ms, pulse.acknowledged_ms, pulse.heard_ms)
    if pulse.retransmits >= LEAST_RETRANSMITS and unacknowledged_ms >= UNACKNOWLEDGED_MS:
        return "unacknowledged"
    if pulse.heard_ms >= UNHEARD_MS and unanswered >= LEAST_UNANSWERED:
        return "unanswered"
    return None


def _found_dead(one: KnownTunnel, pulse: Pulse, why: str) -> WriteRecord:
    data = {"peer": one.tunnel.peer, "why": why, "unheard_ms": pulse.heard_ms, "retransmits": pulse.retransmits}
    return WriteRecord(Fact("tunnel.dead", one.session, None if one.grant is None else one.grant.device, data))
