"""The ledger: which sessions this relay admits, decided without touching the world.

Every question about a grant is answered here: may it be put, what does ending it mean, what has run out, what does the
console's list leave over. A function takes the ledger and a fact and gives a new ledger with effects, or a refusal.
Three laws hold it together, and the property tests hold them:

1. A session that ended never lives again; ending one that was never seen counts (its grant may come late).
2. A port belongs to at most one live session, and to none while somebody else still listens on it.
3. A grant's sequence is higher than any seen before it; the same envelope again changes nothing and is a success.

Knows no clock (``now`` is an argument, in ms), no file, no sshd. Called by ``runtime`` alone. protocol.md §7.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact
from doorward_protocol.revisions import NEVER, Revision, is_too_far_ahead

from doorward_relay.effects import AdmitLive, CloseSession, Effect, KeepEnd, KeepGrant, KeepSequence, Live, WriteRecord

REMEMBERED_MS: Final = 30 * 86_400_000
"""How long an ended session is kept in mind: far beyond the longest grant, whose own end refuses it afterwards."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What this relay gives out at all, from its own configuration."""

    low_port: int
    high_port: int
    longest_s: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that decides about grants.

    Attributes:
        sequence: the highest seen.
        live: grants in force.
        ended: sessions that ended, and when (ms).
        by_port: the live sessions by their ports, made of ``live``: each look asks for each listener.
    """

    sequence: Revision = NEVER
    live: Mapping[SessionId, Live] = field(default_factory=dict)
    ended: Mapping[SessionId, int] = field(default_factory=dict)
    by_port: Mapping[int, SessionId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the index."""
        by_port = {port: name for name, one in self.live.items() for port in ports_of(one.grant)}
        object.__setattr__(self, "by_port", by_port)

    def session_of_port(self, port: int) -> SessionId | None:
        """Name the live session that has ``port``."""
        return self.by_port.get(port)


@dataclass(frozen=True, slots=True)
class Changed:
    """The ledger after a fact, and what is to be done about it."""

    ledger: Ledger
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A no, by its reason code."""

    code: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A grant whose signature and address hold, as it arrived.

    Attributes:
        digest: of the envelope's bytes.
        busy: of the ports asked for, those on which something listens now, and whether it is a device's connection.
    """

    grant: Grant
    digest: str
    busy: Mapping[int, bool] = field(default_factory=dict)


def ports_of(grant: Grant) -> tuple[int, ...]:
    """Give the ports of a grant, in its order."""
    return tuple(forward.port for forward in grant.forwards)


def put(ledger: Ledger, offer: Offer, limits: Limits, *, now: int) -> Changed | Refused:
    """Take a grant into force, or say why not; asks in the order of protocol.md §7."""
    grant, known = offer.grant, ledger.live.get(offer.grant.session)
    if known is not None and known.digest == offer.digest:
        return Changed(ledger)
    code = _sequence_refusal(grant, ledger) or _policy_refusal(grant, ledger, limits, now=now)
    code = code or _busy_refusal(offer, known)
    if code is not None:
        return Refused(code)
    live = Live(grant, offer.digest)
    changed = replace(ledger, sequence=grant.sequence, live={**ledger.live, grant.session: live})
    accepted = Fact("grant.accepted", grant.session, grant.device, _accepted_data(grant))
    return Changed(changed, (WriteRecord(accepted), KeepGrant(live), KeepSequence(grant.sequence), AdmitLive()))


def end(ledger: Ledger, session: SessionId, *, sequence: Revision | None, why: str, now: int) -> Changed:
    """End a session, whether it is known or not: shutting is always allowed.

    A sequence that jumps too far is not believed, so that an end, which nobody signs, cannot use up the counter.
    """
    effects: list[Effect] = []
    if sequence is not None and sequence > ledger.sequence and not is_too_far_ahead(sequence, ledger.sequence):
        ledger = replace(ledger, sequence=sequence)
        effects.append(KeepSequence(sequence))
    known = ledger.live.get(session)
    if known is None and session in ledger.ended:
        return Changed(ledger, tuple(effects))
    rest = {name: live for name, live in ledger.live.items() if name != session}
    ledger = replace(ledger, live=rest, ended={**ledger.ended, session: now})
    if known is None:
        return Changed(ledger, (*effects, KeepEnd(session, now)))
    ending = WriteRecord(Fact("grant.ending", session, known.grant.device, {"why": why}))
    return Changed(ledger, (*effects, ending, KeepEnd(session, now), AdmitLive(), CloseSession(known.grant, why)))


def expire(ledger: Ledger, *, now: int) -> Changed:
    """End what has reached its end."""
    over = [name for name, live in ledger.live.items() if live.grant.ends_at <= now]
    return _end_all(ledger, over, why="expired", now=now)


def reconcile(ledger: Ledger, wanted: Collection[str], *, as_of: Revision, now: int) -> Changed:
    """End what the console does not list; what is newer than its list (``as_of``) is left alone."""
    over = [name for name, live in ledger.live.items() if live.grant.sequence <= as_of and name not in wanted]
    return _end_all(ledger, over, why="reconciled", now=now)


def end_everything(ledger: Ledger, *, why: str, now: int) -> Changed:
    """End all sessions: the relay is no longer paired with who granted them."""
    return _end_all(ledger, list(ledger.live), why=why, now=now)


def forget(ledger: Ledger, *, now: int) -> Ledger:
    """Drop ended sessions whose grants could not be in force any more."""
    return replace(ledger, ended={name: at for name, at in ledger.ended.items() if at > now - REMEMBERED_MS})


def _end_all(ledger: Ledger, sessions: Collection[SessionId], *, why: str, now: int) -> Changed:
    effects: tuple[Effect, ...] = ()
    for session in sessions:
        step = end(ledger, session, sequence=None, why=why, now=now)
        ledger, effects = step.ledger, effects + step.effects
    return Changed(ledger, effects)


def _sequence_refusal(grant: Grant, ledger: Ledger) -> str | None:
    if grant.sequence <= ledger.sequence:
        return "grant.session-ended" if grant.session in ledger.ended else "grant.lower-sequence"
    return "grant.too-far-ahead" if is_too_far_ahead(grant.sequence, ledger.sequence) else None


def _policy_refusal(grant: Grant, ledger: Ledger, limits: Limits, *, now: int) -> str | None:
    ports = ports_of(grant)
    if grant.session in ledger.ended:
        return "grant.session-ended"
    if grant.ends_at <= now:
        return "grant.past-its-end"
    if grant.ends_at > now + limits.longest_s * 1000:
        return "grant.too-long"
    if len(set(ports)) != len(ports) or not all(limits.low_port <= port <= limits.high_port for port in ports):
        return "grant.port-not-allowed"
    others = {port for name, live in ledger.live.items() if name != grant.session for port in ports_of(live.grant)}
    return "grant.port-taken" if others & set(ports) else None


def _busy_refusal(offer: Offer, known: Live | None) -> str | None:
    """Refuse ports on which somebody listens, but for those that this session has already."""
    own = () if known is None else ports_of(known.grant)
    held = [is_tunnel for port, is_tunnel in offer.busy.items() if port not in own]
    if not held:
        return None
    return "grant.port-taken" if all(held) else "relay.port-busy"


def _accepted_data(grant: Grant) -> dict[str, object]:
    return {
        "epoch": grant.sequence.epoch,
        "seq": grant.sequence.number,
        "ends_at": grant.ends_at,
        "forwards": [{"name": one.name, "bind": one.bind, "port": one.port} for one in grant.forwards],
        "by": grant.asked.by,
    }
