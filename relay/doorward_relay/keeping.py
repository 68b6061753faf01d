"""Keeping: the relay's memory, written through to its store as long as that works, and waiting in order while not.

On a full disk the relay goes on closing: ``keep`` never fails. What admits somebody uses ``keep_now``, which says whether
it is durable. Owned by ``runtime``, on its loop.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from doorward_protocol.ids import SessionId
from doorward_protocol.signature import SigningKey

from doorward_relay import effects as do
from doorward_relay.backlog import Backlog, Waiting, add, chunk
from doorward_relay.chain import Chain
from doorward_relay.contracts import StoreUnavailable
from doorward_relay.edges.reserve import Reserve
from doorward_relay.edges.store import Store
from doorward_relay.pairing import Pinned

_LOG: Final = logging.getLogger("doorward.relay")


class Keeping:
    """The way into the store."""

    def __init__(self, store: Store, reserve: Reserve, key: SigningKey, clock: Callable[[], int]) -> None:
        """Nothing waits; records have an author as soon as the store knows a pairing."""
        self.news = asyncio.Event()
        self._store, self._reserve, self._key, self._clock = store, reserve, key, clock
        self._backlog = Backlog()
        self._is_working = True
        self._author: str | None = None
        self.belong_to(store.pinned())

    def belong_to(self, pinned: Pinned | None) -> None:
        """Write records by the name that a pairing gave; without one the former name stays."""
        if pinned is not None:
            self._author = f"relay:{pinned.relay}"

    @property
    def chain(self) -> Chain | None:
        """The chain, from the first pairing on."""
        return None if self._author is None else Chain(self._store, self._key, self._author, self.news)

    @property
    def waiting(self) -> int:
        return len(self._backlog.waiting)

    def keep(self, effects: Sequence[do.Kept]) -> None:
        """Write down, together and durably; what cannot be written now waits its turn."""
        at = self._clock()
        if self.waiting or not self._write([Waiting(one, at) for one in effects]):
            self._backlog = add(self._backlog, effects, at=at)
            for one in effects:
                if isinstance(one, do.KeepEnd):
                    self._reserve.note(one.session)

    def keep_now(self, effects: Sequence[do.Kept]) -> bool:
        """Write down, or do nothing and give False: the store does not work, or something older still waits."""
        at = self._clock()
        return not effects or (self.settle() and self._write([Waiting(one, at) for one in effects]))

    def settle(self) -> bool:
        """Try to write what waits, a chunk at most; tell whether nothing waits any more."""
        if self.waiting:
            first, rest = chunk(self._backlog)
            if self._write(first):
                self._backlog = rest
                self._store.share()
        return not self.waiting

    @property
    def ended_before(self) -> tuple[SessionId, ...]:
        """Sessions that an earlier daemon ended and could not write down in the store."""
        return self._reserve.sessions

    def settle_all(self) -> None:
        """Write what waits before something that must come after it; raises StoreUnavailable."""
        if not self.settle():
            raise StoreUnavailable("older records wait to be written")

    def is_withdrawn(self) -> bool:
        """Tell whether the command line took the pairing back; a store that cannot be read says nothing."""
        with suppress(StoreUnavailable):
            return self._store.pinned() is None
        return False

    def _write(self, group: Sequence[Waiting]) -> bool:
        try:
            with self._store.together():
                for one in group:
                    self._write_one(one)
        except StoreUnavailable as error:
            self._notice(is_working=False, why=str(error))
            return False
        self._notice(is_working=True)
        return True

    def _write_one(self, one: Waiting) -> None:
        match one.effect:
            case do.WriteRecord(fact):
                _LOG.info("%s session=%s", fact.verb, fact.session)
                if self.chain is not None:
                    self.chain.write(one.fact or fact, now=one.at)
            case do.KeepGrant(live):
                self._store.keep_grant(live)
            case do.KeepEnd(session, at):
                self._store.keep_end(session, at)
            case do.KeepSequence(sequence):
                self._store.keep_sequence(sequence)
            case _:
                _unreachable(one.effect)

    def forget_reserve(self) -> None:
        """Free the reserve once everything is in the store."""
        if not self.waiting:
            self._reserve.clear()

    def _notice(self, *, is_working: bool, why: str = "") -> None:
        """Log when the store begins to fail and when it works again, once each."""
        if self._is_working and not is_working:
            _LOG.error("store.unavailable why=%s; doors go on closing, none is opened; free space on its disk", why)
        if is_working and not self._is_working:
            _LOG.warning("store.works waiting=%d dropped=%d", self.waiting, self._backlog.dropped)
        self._is_working = is_working


def _unreachable(value: NoReturn) -> NoReturn:
    raise AssertionError(f"nothing to keep: {value!r}")
