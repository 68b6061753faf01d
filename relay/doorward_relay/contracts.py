"""What the cores and the runtime need of the edges, as Protocols: enough for a world of tests to stand in."""

from typing import Protocol

from doorward_protocol.records import Head


class StoreUnavailable(Exception):
    """The store cannot be read or written now: a full disk, a broken one, a lock that lasts."""


class ChainStore(Protocol):
    """Where records are kept."""

    def head(self, author: str) -> Head:
        """Give the head of a chain."""

    def append(self, author: str, head: Head, at: int, envelope: bytes) -> None:
        """Add the record that makes ``head`` the head, durably."""

    def records_after(self, author: str, n: int, *, most: int) -> tuple[bytes, ...]:
        """Give envelopes in their order."""

    def digest_of_record(self, author: str, n: int) -> str | None:
        """Give the digest of one record, or None where it is not kept."""

    def heads(self) -> dict[str, Head]:
        """Give the heads of other chains."""

    def keep_receipt(self, author: str, upto: int, heads: dict[str, Head]) -> None:
        """Write down a receipt."""

    def drop_receipted(self, author: str, before: int) -> None:
        """Drop receipted records older than a time (ms)."""
