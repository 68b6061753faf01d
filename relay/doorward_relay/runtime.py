"""The runtime: the one place where the relay's decisions meet its effects.

Owns the ledger and what the watch knows, both on one asyncio loop, so that nothing is decided on half a change: between
reading and writing the ledger there is never an ``await``. The control API, devices that say hello and the clock bring events;
``ledger``, ``pairing`` and ``watch`` decide; ``_perform`` does it in order: the record first (it may wait), then the act.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Final, NoReturn

from doorward_protocol.digests import digest_of
from doorward_protocol.grants import Grant, GrantRefused, grant_from_envelope
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey

from doorward_relay import effects as do
from doorward_relay import ledger as rules
from doorward_relay import reaper, watch
from doorward_relay.chain import Chain
from doorward_relay.closing import LIMIT_S, Closings, busy
from doorward_relay.config import RelayConfig
from doorward_relay.contracts import Front, KernelUnread, StoreUnavailable
from doorward_relay.doors import Doors
from doorward_relay.edges.probing import Probed
from doorward_relay.edges.reserve import Reserve
from doorward_relay.edges.store import Store
from doorward_relay.keeping import Keeping
from doorward_relay.pacing import Pacing
from doorward_relay.pairing import Pinned
from doorward_relay.refusals import Tally, count
from doorward_relay.requests import EndRequest, ReconcileRequest, RequestRefused
from doorward_relay.view import Tunnel, View

_LOG: Final = logging.getLogger("doorward.relay")


class Runtime:
    """One relay at work."""

    def __init__(
        self, config: RelayConfig, store: Store, key: SigningKey, front: Front, clock: Callable[[], int]
    ) -> None:
        """Take up what the store holds; nothing is done before ``start``."""
        self.config, self.store, self.clock = config, store, clock
        self.ledger = store.ledger()
        self.pinned: Pinned | None = store.pinned()
        self._admission, self._connections = front.admission, front.connections
        self.public_key = key.public
        self.keeping = Keeping(store, Reserve(config.reserve_file), key, clock)
        self._known, self._felt = watch.Known(), reaper.Felt()
        self._doors = Doors(config.host, self._tell)
        self._refusals = Tally()
        self._closings = Closings(self._connections, self._former, self._tell)
        self._pacing = Pacing(self._connections.has_news)

    @property
    def is_serving(self) -> bool:
        """Whether devices are listened for."""
        return self._connections.is_serving()

    @property
    def chain(self) -> Chain | None:
        return self.keeping.chain

    def start(self) -> None:
        """Admit what is live, end what ran out meanwhile, and say that we are here."""
        self._tell(Fact("relay.started", data={"live": len(self.ledger.live)}))
        for session in self.keeping.ended_before:
            self._apply(rules.end(self.ledger, session, sequence=None, why="ended before a restart", now=self.clock()))
        self._admit()
        self._apply(rules.expire(self.ledger, now=self.clock()))
        self._pacing.be_eager()

    # Asked by the console

    def put(self, raw: bytes, session: SessionId) -> Grant:
        """Take the grant of ``session`` into force; raises RequestRefused."""
        pinned = self._paired()
        try:
            grant = grant_from_envelope(raw, KeyRing([pinned.grant_key]), relay=pinned.relay, project=pinned.project)
        except GrantRefused as refused:
            raise self._refused(refused.code, None) from None
        if grant.session != session:
            raise self._refused("grant.malformed", grant)
        try:
            offer = rules.Offer(grant, digest_of(raw), busy(self._connections, self.ledger, rules.ports_of(grant)))
        except KernelUnread:
            raise self._refused("relay.unavailable", grant) from None
        low, high = self.config.ports
        limits = rules.Limits(low, high, self.config.longest_session_s)
        decided = rules.put(self.ledger, offer, limits, now=self.clock())
        if isinstance(decided, rules.Refused):
            raise self._refused(decided.code, grant)
        kept = [one for one in decided.effects if isinstance(one, do.KEPT)]
        if not self.keeping.keep_now(kept):
            raise self._refused("relay.unavailable", grant)
        self.ledger = decided.ledger
        self._perform(one for one in decided.effects if one not in kept)
        self._pacing.be_eager()
        return grant

    async def end(self, session: SessionId, request: EndRequest) -> None:
        """End a session and wait until nothing listens for it; raises RequestRefused (``relay.not-closed``)."""
        step = rules.end(self.ledger, session, sequence=request.sequence, why=request.why, now=self.clock())
        self._apply(step)
        if not await self._closings.is_closed(session):
            raise RequestRefused("relay.not-closed")

    def reconcile(self, request: ReconcileRequest) -> tuple[list[str], list[str]]:
        """Follow the console's list; gives what was ended, and what the console lists and we have not."""
        before = set(self.ledger.live)
        self._apply(rules.reconcile(self.ledger, request.sessions, as_of=request.as_of, now=self.clock()))
        self.ledger = rules.forget(self.ledger, now=self.clock())
        with suppress(StoreUnavailable):
            self.store.keep_reconciled(self.clock())
            self.store.forget_ended(self.clock() - rules.REMEMBERED_MS)
        missing = [name for name in request.sessions if SessionId(name) not in self.ledger.live]
        return sorted(before - set(self.ledger.live)), missing

    async def probe(self, session: SessionId) -> Probed:
        """Ask a live session's door now; raises RequestRefused."""
        live = self.ledger.live.get(session)
        if live is None or not live.grant.forwards:
            raise RequestRefused("relay.grant-ended")
        return await self._doors.ask(live.grant)

    def receipt(self, raw: bytes) -> None:
        """Take a receipt; raises chain.ReceiptRefused, StoreUnavailable."""
        pinned, chain = self._paired(), self.chain
        self.keeping.settle_all()
        if chain is not None:
            chain.take_receipt(raw, pinned, now=self.clock())

    def pair(self, pinned: Pinned) -> None:
        """Belong to a console from now on; raises StoreUnavailable: nobody is admitted then."""
        self.keeping.settle_all()
        self._admission.trust(pinned.tunnel_ca)
        sequence = Revision(pinned.epoch, 0)
        with self.store.together():
            self.store.keep_pinned(pinned)
            self.store.keep_sequence(sequence)
        self.pinned = pinned
        self.keeping.belong_to(pinned)
        self.ledger = replace(self.ledger, sequence=sequence)
        self.start()

    def unpair(self) -> None:
        """Belong to nobody: whatever was granted ends."""
        self._apply(rules.end_everything(self.ledger, why="unpaired", now=self.clock()))
        self._admission.trust(None)
        self.pinned = None

    # Asked by a device's connection

    async def hello(self, caller: Tunnel | None, session: SessionId) -> str:
        """Give a session's port to the connection that asks; answers a reason code (protocol.md §7, Hello)."""
        live = self.ledger.live.get(session)
        if caller is None or live is None or not live.grant.forwards:
            return "relay.grant-ended"
        ports = rules.ports_of(live.grant)
        others = [one.peer for one in self._connections.look().holders_of(ports) if one.key != caller.key]
        if others:
            data = {"peer": caller.peer, "replaced": others, "ports": list(ports)}
            self._tell(Fact("tunnel.replaced", session, live.grant.device, data))
        is_free = await self._connections.free(ports, caller, LIMIT_S)
        return "relay.port-freed" if is_free else "relay.port-busy"

    # The clock

    async def keep_watching(self, turn: Callable[[], None]) -> None:
        """Look, again and again, with a ``turn`` before each look; the pause is short while somebody waits for a door."""
        while True:
            turn()
            await self._look()

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            self.tick()
            await self._pacing.wait(began)
        except KernelUnread as error:
            _LOG.error("kernel.unread why=%s; nothing is seen until there is room again", error)
            await asyncio.sleep(1)

    def tick(self) -> None:
        """Look once: end what ran out, compare what is there with the ledger, notice a pairing that was withdrawn."""
        now = self.clock()
        self._apply(rules.expire(self.ledger, now=now))
        if self.pinned is not None and self.keeping.is_withdrawn():
            self.unpair()
        view = self._connections.glance()
        visitors = tuple(one for one in view.visitors if not self._doors.is_own(one.address, one.from_port))
        before, view = self._known, replace(view, visitors=visitors)
        seen = watch.look(before, view, self.ledger, now=now, closing=self._closings.ports)
        self._known = seen.known
        self._perform(seen.effects)
        self._notice_lost(before)
        self._reap(view, now)
        if seen.known.up.issuperset(self.ledger.by_port.values()):  # nobody waits for a rehearsal's tunnel
            self._pacing.be_calm()
        self.keeping.settle()
        self.keeping.forget_reserve()
        if not self._admission.is_settled:
            self._admit()

    def _reap(self, view: View, now: int) -> None:
        """End tunnels whose other end is gone; the next look tells that they went down."""
        reaped = reaper.reap(self._felt, self._known.tunnels.values(), view, self._doors.unanswered, now=now)
        self._felt = reaped.felt
        self._perform(reaped.effects)

    def stop(self) -> None:
        """End every connection of a device: the ssh side itself is about to end."""
        self._connections.end(self._connections.look().tunnels)

    # Effects

    def _apply(self, changed: rules.Changed) -> None:
        self.ledger = changed.ledger
        self._perform(changed.effects)

    def _perform(self, effects: Iterable[do.Effect]) -> None:
        """Do it in order; what is kept together becomes durable together, before the act that follows it."""
        for _, group in groupby(effects, key=lambda one: isinstance(one, do.KEPT)):
            both = tuple(group)
            if kept := [one for one in both if isinstance(one, do.KEPT)]:
                self.keeping.keep(kept)
            for act in both:
                if not isinstance(act, do.KEPT):
                    self._do(act)

    def _do(self, effect: do.Act) -> None:
        match effect:
            case do.AdmitLive():
                self._admit()
            case do.CloseSession(grant, why):
                self._doors.forget(grant.session)
                self._closings.begin(grant, why)
            case do.EndTunnel(tunnel):
                self._connections.end((tunnel,))
            case do.DoubtDoor(session):
                self._doors.doubt(session)
            case do.ProbeDoor(session):
                self._doors.watch(self.ledger.live[session].grant)
            case _:
                _unreachable(effect)

    def _tell(self, fact: Fact) -> None:
        self.keeping.keep((do.WriteRecord(fact),))

    def _admit(self) -> None:
        self._admission.admit([live.grant for live in self.ledger.live.values()])

    def _former(self, session: SessionId, view: View) -> Iterable[Tunnel]:
        """Give connections that held the ports of ``session`` at an earlier look."""
        return watch.former_holders(self._known, view, session)

    def _notice_lost(self, before: watch.Known) -> None:
        """Tell the probe's loop which live sessions have just lost their tunnel."""
        for session in before.up - self._known.up:
            live = self.ledger.live.get(session)
            if live is not None:
                self._doors.lost(live.grant)
                self._pacing.be_eager()

    # Refusals

    def _paired(self) -> Pinned:
        if self.pinned is None:
            raise RequestRefused("relay.not-paired")
        return self.pinned

    def _refused(self, code: str, grant: Grant | None) -> RequestRefused:
        """Record a refusal; equal ones within a minute are counted, not repeated."""
        session, device = (None, None) if grant is None else (grant.session, grant.device)
        self._refusals, times = count(self._refusals, (code, session), now=self.clock())
        if times is not None:
            self._tell(Fact("grant.refused", session, device, {"code": code, "times": times}))
        return RequestRefused(code)


def _unreachable(value: NoReturn) -> NoReturn:
    raise AssertionError(f"no effect: {value!r}")
