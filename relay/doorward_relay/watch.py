"""The watch: what is there against what the ledger grants, decided without touching the world.

Compares what is there with what was there a moment ago and with what is granted. Whatever listens without a grant is
ended; a connection that holds nothing for ``IDLE_MS`` is ended, so that one that authenticated before its grant ended
cannot wait for a better day; comings and goings become records. Called by ``runtime`` about once a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact

from doorward_relay.effects import Effect, EndTunnel, ProbeDoor, WriteRecord
from doorward_relay.ledger import Ledger
from doorward_relay.view import Count, Listener, Tunnel, TunnelKey, View, Visitor

IDLE_MS: Final = 15_000
"""How long a connection may hold nothing: a device asks for its forward in the same breath, hello takes seconds."""


@dataclass(frozen=True, slots=True)
class KnownTunnel:
    """A connection as it was last seen.

    Attributes:
        grant: whose forward it holds or held.
        is_up: it holds a forward of a live session.
        since: when it came to that (ms).
        count: bytes when it was last looked at.
    """

    tunnel: Tunnel
    grant: Grant | None
    is_up: bool
    since: int
    count: Count | None = None

    @property
    def session(self) -> SessionId | None:
        return None if self.grant is None else self.grant.session


@dataclass(frozen=True, slots=True)
class KnownVisitor:
    """Somebody who is connected to a door."""

    grant: Grant
    since: int
    count: Count | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the last look left behind.

    Attributes:
        surplus: numbers of listeners that were found to have no grant, so that each is recorded once.
        unheld: of those without a grant, the ones that no connection held: a process that was ending while we looked, ours or
            one of another relay's, is gone at the next look, and nothing was ever wrong.
        is_shut: no live grant and no listener, as it was last recorded; None before the first look.
    """

    tunnels: Mapping[TunnelKey, KnownTunnel] = field(default_factory=dict)
    visitors: Mapping[Visitor, KnownVisitor] = field(default_factory=dict)
    surplus: frozenset[int] = frozenset()
    unheld: frozenset[int] = frozenset()
    is_shut: bool | None = None

    @property
    def up(self) -> frozenset[SessionId]:
        """The sessions whose tunnel is up."""
        return frozenset(one.grant.session for one in self.tunnels.values() if one.is_up and one.grant is not None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known after a look, and what is to be done."""

    known: Known
    effects: tuple[Effect, ...] = ()


def look(known: Known, view: View, ledger: Ledger, *, now: int, closing: frozenset[int] = frozenset()) -> Seen:
    """Compare ``view`` with what was known and with what is granted.

    ``closing`` are ports of sessions that have just ended: who listens there still is no find, somebody is ending it and
    will tell how that went.
    """
    tunnels, about_tunnels = _tunnels(known, view, ledger, now)
    visitors, about_visitors = _visitors(known, view, ledger, now)
    surplus = tuple(one for one in view.listeners if not is_granted(one, ledger) and one.port not in closing)
    is_shut = not ledger.live and not view.listeners
    told, unheld, about_surplus = _surplus(known, view, surplus)
    effects = [*about_surplus, *about_tunnels, *about_visitors]
    if is_shut and known.is_shut is not True:
        effects.append(WriteRecord(Fact("doors.shut", data={"listeners": 0, "grants": 0})))
    return Seen(Known(tunnels, visitors, told, unheld, is_shut), tuple(effects))


def former_holders(known: Known, view: View, session: SessionId) -> tuple[Tunnel, ...]:
    """Name the connections that ever held a forward of ``session``: they go with it, whatever they hold now."""
    was = {key for key, one in known.tunnels.items() if one.session == session}
    return tuple(one for one in view.tunnels if one.key in was)


def is_granted(listener: Listener, ledger: Ledger) -> bool:
    """Tell whether a live grant covers a listener: its port, and its address where that is the loopback alone."""
    session = ledger.session_of_port(listener.port)
    if session is None:
        return False
    forward = next(one for one in ledger.live[session].grant.forwards if one.port == listener.port)
    return forward.bind == "*" or listener.is_loopback


def _surplus(
    known: Known, view: View, surplus: Sequence[Listener]
) -> tuple[frozenset[int], frozenset[int], list[Effect]]:
    """End whoever holds a listener without a grant, and tell of each once; gives who was told of and who was held by nobody."""
    effects: list[Effect] = []
    held = {each.number: one for one in view.tunnels for each in one.listeners}
    told = known.surplus & {one.number for one in view.listeners}
    for listener in surplus:
        holder = held.get(listener.number)
        if listener.number not in told and (holder is not None or listener.number in known.unheld):
            data = {"address": listener.address, "port": listener.port, "peer": holder and holder.peer}
            effects.append(WriteRecord(Fact("listener.surplus", data=data)))
            told |= {listener.number}
        if holder is not None:
            effects.append(EndTunnel(holder))
    return told, frozenset(one.number for one in surplus if one.number not in held), effects


def _tunnels(known: Known, view: View, ledger: Ledger, now: int) -> tuple[dict[TunnelKey, KnownTunnel], list[Effect]]:
    """Compare connections; a going is told before a coming, for the newer one of a device may come within one look."""
    found: dict[TunnelKey, KnownTunnel] = {}
    effects: list[Effect] = []
    for tunnel in view.tunnels:
        was = known.tunnels.get(tunnel.key)
        now_known = _known_tunnel(tunnel, was, ledger, view, now)
        found[tunnel.key] = now_known
        if now_known.is_up and (was is None or not was.is_up):
            effects += _up(now_known)
        if not now_known.is_up and now - now_known.since >= IDLE_MS:
            effects.append(EndTunnel(tunnel))
    gone = [was for key, was in known.tunnels.items() if was.is_up and (key not in found or not found[key].is_up)]
    return found, [*(WriteRecord(_down(was, view, now)) for was in gone), *effects]


def _known_tunnel(tunnel: Tunnel, was: KnownTunnel | None, ledger: Ledger, view: View, now: int) -> KnownTunnel:
    sessions = (ledger.session_of_port(one.port) for one in tunnel.listeners if is_granted(one, ledger))
    session = next((one for one in sessions if one is not None), None)
    grant = None if session is None else ledger.live[session].grant
    is_up, count = grant is not None, view.counts.get(tunnel.number)
    if was is None:
        return KnownTunnel(tunnel, grant, is_up, now, count)
    if (was.tunnel, was.is_up, was.count) == (tunnel, is_up, count) and grant in (None, was.grant):
        return was  # a tunnel at rest costs a comparison: there may be thousands, each second
    since = was.since if was.is_up == is_up else now
    return KnownTunnel(tunnel, grant or was.grant, is_up, since, count)


def _up(one: KnownTunnel) -> list[Effect]:
    if one.grant is None:
        return []
    data = {"peer": one.tunnel.peer, "ports": [each.port for each in one.tunnel.listeners]}
    up = Fact("tunnel.up", one.grant.session, one.grant.device, data)
    return [WriteRecord(up), ProbeDoor(one.grant.session)]


def _down(was: KnownTunnel, view: View, now: int) -> Fact:
    device = None if was.grant is None else was.grant.device
    count = view.counts.get(was.tunnel.number, was.count)
    data = {"peer": was.tunnel.peer, "lasted_ms": now - was.since, **_at_least(count)}
    return Fact("tunnel.down", was.session, device, data)


def _at_least(count: Count | None) -> dict[str, int | None]:
    """Give the bytes to and from the other end at the last look before it went: as many at least."""
    if count is None:
        return {"bytes_to": None, "bytes_from": None}
    return {"bytes_to": count.sent, "bytes_from": count.received}


def _visitors(known: Known, view: View, ledger: Ledger, now: int) -> tuple[dict[Visitor, KnownVisitor], list[Effect]]:
    found: dict[Visitor, KnownVisitor] = {}
    effects: list[Effect] = []
    for visitor in view.visitors:
        session = ledger.session_of_port(visitor.port)
        was = known.visitors.get(visitor)
        if was is None and session is not None:
            was = KnownVisitor(ledger.live[session].grant, now)
            effects.append(WriteRecord(_came(visitor, was)))
        if was is not None:
            found[visitor] = replace(was, count=view.counts.get(visitor.number))
    for visitor, gone in known.visitors.items():
        if visitor not in found:
            last = replace(gone, count=view.counts.get(visitor.number, gone.count))
            effects.append(WriteRecord(_left(visitor, last, now)))
    return found, effects


def _came(visitor: Visitor, one: KnownVisitor) -> Fact:
    data = {"address": visitor.address, "from_port": visitor.from_port, "port": visitor.port}
    return Fact("visitor.came", one.grant.session, one.grant.device, data)


def _left(visitor: Visitor, one: KnownVisitor, now: int) -> Fact:
    exactly = None if one.count is None else one.count.lasted_ms
    data = {
        "address": visitor.address,
        "from_port": visitor.from_port,
        "port": visitor.port,
        "lasted_ms": now - one.since if exactly is None else exactly,
        **_at_least(one.count),
    }
    return Fact("visitor.left", one.grant.session, one.grant.device, data)
