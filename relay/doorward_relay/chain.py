"""The relay's chain of records: continue it, serve it, take receipts for it. Signs; decides nothing about doors.

A record is durable before the act that it announces. Before the first pairing the relay has no name, so nothing can
be written down; the daemon's log has to do. Called by ``runtime``. protocol.md §5, §6.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.receipts import Receipt, receipt_from_payload
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import KeyRing, SignatureRefused, SigningKey

from doorward_relay.contracts import ChainStore
from doorward_relay.pairing import Pinned

KEPT_MS: Final = 30 * 86_400_000
"""Receipted records are kept this long, so that a console restored from a backup can fill its gap."""
PAGE: Final = 200
"""Records in one answer; one is at most a few KiB."""


class ReceiptRefused(Exception):
    """The receipt is none, or not for this chain; ``code`` is a reason code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Chain:
    """The chain of one author; ``news`` is set whenever it grew."""

    store: ChainStore
    key: SigningKey
    author: str
    news: asyncio.Event

    @property
    def head(self) -> Head:
        return self.store.head(self.author)

    def write(self, fact: Fact, *, now: int) -> None:
        """Add a record, durably."""
        last = self.head
        payload = next_payload(self.author, last, Moment(now), fact, self.store.heads())
        self.store.append(self.author, head_after(payload, last), now, self.key.seal("record", payload))
        self.news.set()

    def page(self, after: int) -> tuple[bytes, ...]:
        """Give the next records after ``after`` as envelopes."""
        return self.store.records_after(self.author, after, most=PAGE)

    async def grows_beyond(self, n: int, limit_s: float) -> None:
        """Wait until there is a record after ``n``, at most ``limit_s`` seconds."""
        deadline = time.monotonic() + limit_s
        while self.head.n <= n and (left := deadline - time.monotonic()) > 0:
            self.news.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.news.wait(), left)

    def take_receipt(self, raw: bytes, pinned: Pinned, *, now: int) -> None:
        """Note how far the console has stored this chain; drop what is old.

        Raises:
            ReceiptRefused: not a receipt of the pinned record key for this chain, or it names another record than
                ours at that place (``history.forked``: written down first, nothing is dropped).
        """
        receipt = _receipt(raw, pinned)
        if receipt.author != self.author or receipt.project != pinned.project:
            raise ReceiptRefused("grant.other-relay")
        ours = self.store.digest_of_record(self.author, receipt.upto)
        if receipt.upto and (ours is not None or receipt.upto > self.head.n) and ours != receipt.digest:
            self.write(Fact("history.forked", data={"upto": receipt.upto, "digest": receipt.digest}), now=now)
            raise ReceiptRefused("history.forked")
        self.store.keep_receipt(self.author, receipt.upto, dict(receipt.heads))
        self.store.drop_receipted(self.author, now - KEPT_MS)


def _receipt(raw: bytes, pinned: Pinned) -> Receipt:
    try:
        return receipt_from_payload(KeyRing([pinned.record_key]).verify(decode(raw, expected="receipt")))
    except (NotAnEnvelope, SignatureRefused) as refused:
        raise ReceiptRefused(f"grant.{refused.code}") from None
    except UnknownVersion:
        raise ReceiptRefused("grant.unknown-version") from None
    except Malformed:
        raise ReceiptRefused("grant.malformed") from None
