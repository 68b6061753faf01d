"""The device's history: its chain of records, what of it the console has, and what goes out next.

Part of ``runtime`` and called on its thread alone: it joins the pure ``outbox`` and ``refusals`` with journal, broker and
store. Records are signed when they are sent, so that an idle agent need not load the signature library.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from doorward_protocol.digests import Digest, digest_of
from doorward_protocol.fields import Malformed
from doorward_protocol.receipts import Receipt
from doorward_protocol.records import (
    Fact,
    Head,
    Moment,
    document_from_head,
    head_from_document,
    next_payload,
    record_from_payload,
)

from doorward_agent import outbox, policy, refusals
from doorward_agent.contracts import Broker, Journal, Store
from doorward_agent.identity import Identity
from doorward_agent.orders import Refusal
from doorward_agent.outbox import Outbox
from doorward_agent.refusals import Refusals
from doorward_agent.signing import Signing

_log = logging.getLogger(__name__)

KEPT_MS: Final = 30 * 24 * 3_600_000
"""Receipted records stay for 30 days, to fill the gap of a console that was restored (protocol.md §6)."""
FOR_EVER: Final = 2**62
FIRST_PATIENCE_MS: Final = 20_000
"""A receipt is there within a second; a worker that was killed had its subscription with it, and what the broker acknowledged
meanwhile is nowhere."""
MOST_REWRITTEN: Final = 100_000
"""More than a journal holds."""
UNTOLD_PATIENCE_MS: Final = 5_000
"""A console that is there answers an ask within a second; it may have come back a moment after us."""
LONGEST_PATIENCE_MS: Final = 300_000
"""With nobody there to receipt, no oftener than what is done every five minutes anyway."""


class History:
    """The chain of this device."""

    def __init__(self, identity: Identity, journal: Journal, store: Store, signing: Signing, most_bytes: int) -> None:
        self._identity = identity
        self._journal = journal
        self._store = store
        self._signing = signing
        self._most_bytes = most_bytes
        self._refusals = Refusals()
        self._forked: tuple[int, str | None] | None = None
        self._is_told = False
        self._is_unread = False
        self.patience_ms = FIRST_PATIENCE_MS
        known = store.load("receipt") or {}
        upto = known.get("upto", 0)
        self._outbox = Outbox(upto, upto)
        self._last = (upto, known.get("digest"))
        self._heads = _heads_from_document(known.get("heads", {}))
        self.lost = self._resume(upto, known.get("digest"))

    def _resume(self, upto: int, digest: str | None) -> Mapping[str, int]:
        """Go on after what the console has, where the journal ends before it; gives which records are lost here.

        A disk that lied about a sync, or one put back from a backup: the numbers are taken, and a second record under one of
        them would break the chain for good. The receipt was compared with our own record when it was kept.
        """
        held = self._journal.head.n
        if digest is None or upto <= held:
            return {}
        _log.error("journal ends before what the console has held=%s receipted=%s", held, upto)
        self._journal.resume(Head(self._journal.head.epoch, upto, Digest(digest)), held)
        return {"lost_after": held, "lost_upto": upto}

    @property
    def head(self) -> Head:
        return self._journal.head

    @property
    def first(self) -> int:
        return self._journal.first

    @property
    def receipted(self) -> int:
        return self._outbox.receipted

    def write(self, verb: str, session: str | None, data: Mapping[str, Any], moment: Moment) -> None:
        """Append a record; it is on the disk when this returns, or the log says why not."""
        fact = Fact(verb, session, self._identity.device, data)
        self._journal.append(next_payload(self._identity.author, self._journal.head, moment, fact, self._heads))

    def write_refusal(self, refusal: Refusal, moment: Moment, now_ms: int) -> None:
        """Record a refused order, or count it; refusals leave the last quarter of the journal to sessions.

        One of another revision is another refusal, also within the minute: the console waits for a word on each.
        """
        kind = refusal.code if refusal.offered is None else f"{refusal.code} {refusal.part} {tuple(refusal.offered)}"
        self._refusals, times = refusals.refused(self._refusals, kind, now_ms)
        if times and self._journal.size_bytes < self._most_bytes * 3 // 4:
            self.write("order.refused", None, {"code": refusal.code, **refusal.facts, "times": times}, moment)

    def sweep(self, moment: Moment, now_ms: int) -> None:
        """Record what was only counted, and drop what has been receipted for long or does not fit any more."""
        self._refusals, left = refusals.swept(self._refusals, now_ms)
        for kind, times in left.items():
            self.write("order.refused", None, {"code": kind.partition(" ")[0], "times": times}, moment)
        with self._as_far_as_read():
            if moment.at is not None:
                self._journal.trim(self._outbox.receipted, moment.at - KEPT_MS)
            if self._journal.size_bytes > self._most_bytes:
                self._journal.trim(self._outbox.receipted, FOR_EVER)

    @contextmanager
    def _as_far_as_read(self) -> Iterator[None]:
        """Do without what cannot be read just now: no descriptor is left, and a tunnel must not end for it. It is tried again."""
        try:
            self._is_unread = False
            yield
        except OSError as error:
            self._is_unread = True
            _log.error("journal or keys not read, tried again later error=%s", error)

    @property
    def is_owed(self) -> bool:
        """Whether records are under way that nobody has receipted, or wait for the console's word, or for being read."""
        is_under_way = self._outbox.sent > self._outbox.receipted
        return is_under_way or (not self._is_told and bool(self._due())) or self._is_unread

    def lose_patience(self) -> None:
        """Begin again at the receipted record, for its receipt does not come; the next time is waited for twice as long."""
        self.patience_ms = min(2 * self.patience_ms, LONGEST_PATIENCE_MS)
        self.restart()

    def restart(self) -> None:
        """Begin again at the receipted record."""
        self._outbox = outbox.restarted(self._outbox)

    @property
    def is_told(self) -> bool:
        """Whether the console has said, over this connection, how far it has our records."""
        return self._is_told

    def greet(self) -> None:
        """Hear first, on a new connection, how far the console has our records: signed for numbers that are taken they break the chain."""
        self._is_told, self.patience_ms = False, UNTOLD_PATIENCE_MS
        self.restart()

    def send(self, broker: Broker) -> None:
        """Hand over as many records as there is room for."""
        with self._as_far_as_read():
            for n, payload in self._due() if self._is_told else ():
                broker.publish("record", self._signing.seal(payload), record=n)
                self._outbox = outbox.sent(self._outbox, n)

    def _due(self) -> Sequence[tuple[int, bytes]]:
        due: Sequence[tuple[int, bytes]] = ()
        with self._as_far_as_read():
            due = self._journal.after(self._outbox.sent, self._outbox.room)
        is_due = self._signing.is_loaded or policy.is_worth_signing([_verb(payload) for _n, payload in due])
        return due if is_due else ()

    def delivered(self, n: int) -> None:
        self._outbox = outbox.delivered(self._outbox, n)

    def take_receipt(self, raw: bytes, moment: Moment) -> None:
        """Note what the console has; a receipt for another record than ours drops nothing and is recorded.

        One that cannot be compared just now is as good as lost: it comes again with what is sent again.
        """
        with self._as_far_as_read():
            self._take_receipt(raw, moment)

    def _take_receipt(self, raw: bytes, moment: Moment) -> None:
        if not self._signing.is_loaded and self._says_nothing_new(raw):
            self._be_told()
            return
        receipt = self._signing.receipt(raw)
        if receipt is None:
            _log.warning("receipt refused")
            return
        self._be_told()
        if self._is_ours(receipt):
            self._note(receipt)
        elif receipt.upto > self._outbox.receipted:
            self._go_on_after(receipt, moment)
        elif self._forked != (receipt.upto, receipt.digest):
            self._forked = (receipt.upto, receipt.digest)
            self.write("history.forked", None, {"upto": receipt.upto, "digest": receipt.digest}, moment)

    def _be_told(self) -> None:
        if not self._is_told:
            self._is_told, self.patience_ms = True, FIRST_PATIENCE_MS

    def _go_on_after(self, receipt: Receipt, moment: Moment) -> None:
        """Go on after what the console has, with what it lacks of ours under new numbers; the history says so.

        This device was put back from a backup, or a second machine has its identity: the numbers are taken. An older receipt
        that somebody plays again brings about nothing: only one above all that were taken comes here.
        """
        known = self._outbox.receipted
        ours = [record_from_payload(payload) for _n, payload in self._journal.after(known, MOST_REWRITTEN)]
        _log.error("console has other records than we receipted=%s upto=%s ours=%s", known, receipt.upto, len(ours))
        self._journal.resume(Head(self._journal.head.epoch, receipt.upto, receipt.digest), known)
        self._note(receipt)
        data = {"upto": receipt.upto, "digest": receipt.digest, "lost_after": known, "again": len(ours)}
        self.write("history.forked", None, data, moment)
        for one in ours:
            self._journal.append(
                next_payload(self._identity.author, self._journal.head, one.moment, one.fact, one.heads)
            )

    def _says_nothing_new(self, raw: bytes) -> bool:
        """Tell whether a receipt claims just what is known, which is not worth loading the signature library for.

        A console receipts each ask of a device with unsent records, and one that only started has such. Whoever forges
        the claim brings about no more than whoever drops the message.
        """
        claimed = self._signing.claimed_receipt(raw)
        return claimed is not None and claimed.upto == self._outbox.receipted and self._is_ours(claimed)

    def _is_ours(self, receipt: Receipt) -> bool:
        """Compare digests, where the record is still held."""
        if receipt.upto < max(1, self._journal.first) or (receipt.upto, receipt.digest) == self._last:
            return True
        found = self._journal.after(receipt.upto - 1, 1)
        return bool(found) and found[0][0] == receipt.upto and digest_of(found[0][1]) == receipt.digest

    def _note(self, receipt: Receipt) -> None:
        has_changed = receipt.upto != self._outbox.receipted
        self._last = (receipt.upto, receipt.digest)
        self._outbox = outbox.receipted(self._outbox, receipt.upto)
        self._heads = receipt.heads
        if has_changed:
            self.patience_ms = FIRST_PATIENCE_MS
            heads = {name: document_from_head(head) for name, head in receipt.heads.items()}
            try:
                self._store.save(
                    "receipt", {"upto": receipt.upto, "digest": receipt.digest, "heads": heads}, durable=True
                )
            except OSError as error:
                _log.error("receipt not kept error=%s", error)


def _verb(payload: bytes) -> str:
    return str(json.loads(payload)["verb"])


def _heads_from_document(document: Mapping[str, Any]) -> Mapping[str, Head]:
    try:
        return {name: head_from_document(head) for name, head in document.items()}
    except Malformed:
        return {}
