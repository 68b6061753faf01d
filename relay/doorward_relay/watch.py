"""The watch: what is there against what the ledger grants, decided without touching the world.

Compares what is there with what was there a moment ago and with what is granted. Whatever listens without a grant is
ended; a connection that holds nothing for ``IDLE_MS`` is ended, so that one that authenticated before its grant ended
cannot wait for a better day; comings and goings become records. Called by ``runtime`` about once a second.

There may be thousands of tunnels, and whoever types through one of them waits while this looks. So what was well at the last
look and is the same object under the same grant is passed over; and while the tables themselves are those of the last look,
nobody goes through them: at rest a tunnel costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact

from doorward_relay.effects import Effect, EndTunnel, Live, ProbeDoor, WriteRecord
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
        is_well: it is up, and all that it holds is that session's.
    """

    tunnel: Tunnel
    grant: Grant | None
    is_up: bool
    since: int
    is_well: bool = False

    @property
    def session(self) -> SessionId | None:
        return None if self.grant is None else self.grant.session


@dataclass(frozen=True, slots=True)
class KnownVisitor:
    """Somebody who is connected to a door."""

    grant: Grant
    since: int


@dataclass(frozen=True, slots=True)
class Rest:
    """What stays true for as long as the tables are the same objects as at the last look.

    Attributes:
        tunnels: the table of connections then.
        listeners: the table of listeners then.
        unwell: the connections that were not well: all that there is to decide about, while grants stay too.
        loose: the listeners that no connection held.
    """

    tunnels: Sequence[Tunnel] = ()
    listeners: Sequence[Listener] = ()
    unwell: tuple[Tunnel, ...] = ()
    loose: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the last look left behind.

    Attributes:
        up: the sessions whose tunnel is up.
        live: the ledger's grants then.
        counts: bytes then, by a connection's number.
        surplus: numbers of listeners that were found to have no grant, so that each is recorded once.
        unheld: of those without a grant, the ones that no connection held: a process that was ending while we looked, ours or
            one of another relay's, is gone at the next look, and nothing was ever wrong.
        is_shut: no live grant of a port and no listener, as it was last recorded; None before the first look.
        rest: what need not be asked again.
    """

    tunnels: Mapping[TunnelKey, KnownTunnel] = field(default_factory=dict)
    visitors: Mapping[Visitor, KnownVisitor] = field(default_factory=dict)
    up: frozenset[SessionId] = frozenset()
    live: Mapping[SessionId, Live] = field(default_factory=dict)
    counts: Mapping[int, Count] = field(default_factory=dict)
    surplus: frozenset[int] = frozenset()
    unheld: frozenset[int] = frozenset()
    is_shut: bool | None = None
    rest: Rest = field(default_factory=Rest)


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
    news = _news(known, view, ledger)
    loose = _loose(known, view)
    tunnels, about_tunnels = _tunnels(known, view, news, ledger, now)
    visitors, about_visitors = _visitors(known, view, ledger, now)
    doubtful = (*loose, *(each for one in news for each in one.listeners))
    surplus = [one for one in doubtful if not is_granted(one, ledger) and one.port not in closing]
    is_shut = not ledger.by_port and not view.listeners  # a rehearsal's grant is no door
    told, unheld, about_surplus = _surplus(known, view, news, surplus)
    effects = [*about_surplus, *about_tunnels, *about_visitors]
    if is_shut and known.is_shut is not True:
        effects.append(WriteRecord(Fact("doors.shut", data={"listeners": 0, "grants": 0})))
    up = known.up if tunnels is known.tunnels else _up_of(tunnels)
    unwell = tuple(one for one in news if not tunnels[one.key].is_well)
    rest = Rest(view.tunnels, view.listeners, unwell, loose)
    return Seen(Known(tunnels, visitors, up, ledger.live, view.counts, told, unheld, is_shut, rest), tuple(effects))


def _news(known: Known, view: View, ledger: Ledger) -> Sequence[Tunnel]:
    """Give the connections about which anything has to be decided."""
    if view.tunnels is known.rest.tunnels and ledger.live is known.live:
        return known.rest.unwell
    return [one for one in view.tunnels if _is_news(one, known, ledger)]


def _is_news(tunnel: Tunnel, known: Known, ledger: Ledger) -> bool:
    """Tell whether anything has to be decided about a connection: it is not as it was, or it was not well."""
    was = known.tunnels.get(tunnel.key)
    if was is None or not was.is_well or (was.tunnel is not tunnel and was.tunnel != tunnel):
        return True
    if ledger.live is known.live or was.grant is None:
        return False
    live = ledger.live.get(was.grant.session)
    return live is None or live.grant is not was.grant


def _loose(known: Known, view: View) -> tuple[Listener, ...]:
    """Give the listeners that no connection holds."""
    if view.tunnels is known.rest.tunnels and view.listeners is known.rest.listeners:
        return known.rest.loose
    held = {each.number for one in view.tunnels for each in one.listeners}
    return tuple(one for one in view.listeners if one.number not in held)


def _up_of(tunnels: Mapping[TunnelKey, KnownTunnel]) -> frozenset[SessionId]:
    return frozenset(one.grant.session for one in tunnels.values() if one.is_up and one.grant is not None)


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
    known: Known, view: View, news: Sequence[Tunnel], surplus: Sequence[Listener]
) -> tuple[frozenset[int], frozenset[int], list[Effect]]:
    """End whoever holds a listener without a grant, and tell of each once; gives who was told of and who was held by nobody."""
    effects: list[Effect] = []
    held = {each.number: one for one in news for each in one.listeners}
    told = known.surplus and known.surplus & {one.number for one in view.listeners}
    for listener in surplus:
        holder = held.get(listener.number)
        if listener.number not in told and (holder is not None or listener.number in known.unheld):
            data = {"address": listener.address, "port": listener.port, "peer": holder and holder.peer}
            effects.append(WriteRecord(Fact("listener.surplus", data=data)))
            told |= {listener.number}
        if holder is not None:
            effects.append(EndTunnel(holder))
    return told, frozenset(one.number for one in surplus if one.number not in held), effects


def _tunnels(
    known: Known, view: View, news: Sequence[Tunnel], ledger: Ledger, now: int
) -> tuple[Mapping[TunnelKey, KnownTunnel], list[Effect]]:
    """Compare connections; a going is told before a coming, for the newer one of a device may come within one look."""
    if not news and len(view.tunnels) == len(known.tunnels):
        return known.tunnels, []
    anew: dict[TunnelKey, KnownTunnel] = {}
    effects: list[Effect] = []
    for tunnel in news:
        was = known.tunnels.get(tunnel.key)
        now_known = anew[tunnel.key] = _known_tunnel(tunnel, was, ledger, now)
        if now_known.is_up and (was is None or not was.is_up):
            effects += _up(now_known)
        if not now_known.is_up and now - now_known.since >= IDLE_MS:
            effects.append(EndTunnel(tunnel))
    found = {one.key: anew.get(one.key) or known.tunnels[one.key] for one in view.tunnels}
    gone = [was for key, was in known.tunnels.items() if was.is_up and (key not in found or not found[key].is_up)]
    return found, [*(WriteRecord(_down(was, known, view, now)) for was in gone), *effects]


def _known_tunnel(tunnel: Tunnel, was: KnownTunnel | None, ledger: Ledger, now: int) -> KnownTunnel:
    sessions = [ledger.session_of_port(one.port) if is_granted(one, ledger) else None for one in tunnel.listeners]
    session = next((one for one in sessions if one is not None), None)
    grant = None if session is None else ledger.live[session].grant
    is_up = grant is not None
    is_well = is_up and all(one == session for one in sessions)
    if was is None:
        return KnownTunnel(tunnel, grant, is_up, now, is_well)
    since = was.since if was.is_up == is_up else now
    return KnownTunnel(tunnel, grant or was.grant, is_up, since, is_well)


def _up(one: KnownTunnel) -> list[Effect]:
    if one.grant is None:
        return []
    data = {"peer": one.tunnel.peer, "ports": [each.port for each in one.tunnel.listeners]}
    up = Fact("tunnel.up", one.grant.session, one.grant.device, data)
    return [WriteRecord(up), ProbeDoor(one.grant.session)]


def _down(was: KnownTunnel, known: Known, view: View, now: int) -> Fact:
    device = None if was.grant is None else was.grant.device
    count = _count(was.tunnel.number, known, view)
    data = {"peer": was.tunnel.peer, "lasted_ms": now - was.since, **_at_least(count)}
    return Fact("tunnel.down", was.session, device, data)


def _count(number: int, known: Known, view: View) -> Count | None:
    """Give the bytes of a connection that is gone, now or at the last look."""
    return view.counts.get(number, known.counts.get(number))


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
            found[visitor] = was
    for visitor, gone in known.visitors.items():
        if visitor not in found:
            count = _count(visitor.number, known, view)
            effects.append(WriteRecord(_left(visitor, gone, count, now)))
    return found, effects


def _came(visitor: Visitor, one: KnownVisitor) -> Fact:
    data = {"address": visitor.address, "from_port": visitor.from_port, "port": visitor.port}
    return Fact("visitor.came", one.grant.session, one.grant.device, data)


def _left(visitor: Visitor, one: KnownVisitor, count: Count | None, now: int) -> Fact:
    exactly = None if count is None else count.lasted_ms
    data = {
        "address": visitor.address,
        "from_port": visitor.from_port,
        "port": visitor.port,
        "lasted_ms": now - one.since if exactly is None else exactly,
        **_at_least(count),
    }
    return Fact("visitor.left", one.grant.session, one.grant.device, data)
