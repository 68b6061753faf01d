"""What the cores and the runtime need of the edges, as Protocols: enough for a world of tests to stand in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from doorward_protocol.grants import Grant
from doorward_protocol.records import Head

from doorward_relay.view import Listener, Tunnel, View

PAUSE_S: Final = 0.02
"""Between two looks while something is about to change."""


class StoreUnavailable(Exception):
    """The store cannot be read or written now: a full disk, a broken one, a lock that lasts."""


class KernelUnread(Exception):
    """The kernel's tables cannot be read now: this process has no descriptor left, or the machine no memory."""


class Admission(Protocol):
    """Who may log in: the one CA, and the sessions that are live."""

    @property
    def is_settled(self) -> bool:
        """Whether what was last said is in force; while False, ``admit`` is to be tried again."""

    def admit(self, grants: Iterable[Grant]) -> None:
        """Let these grants' devices log in until their ends, and nobody else; never fails, at worst admits nobody."""

    def trust(self, tunnel_ca: str | None) -> None:
        """Accept certificates of this CA, or of none; raises StoreUnavailable for a CA alone."""


class Connections(Protocol):
    """Devices' connections: look at them, end them, see a port free."""

    def glance(self) -> View:
        """Look cheaply; the one look that says what became of connections that went since the last."""

    def look(self) -> View:
        """Look at tunnels and listeners as they are at this moment."""

    def has_news(self) -> bool:
        """Tell whether devices' listeners came or went since this was asked last: cheap, many times a second."""

    def end(self, tunnels: Iterable[Tunnel]) -> None:
        """End connections that are still the same ones."""

    def listening(self, ports: Iterable[int]) -> tuple[Listener, ...]:
        """Give whatever listens on any of ``ports``, whoever it is."""

    def names_of(self, listeners: Iterable[Listener]) -> tuple[str, ...]:
        """Name the programs behind listeners as far as that can be known, for people."""

    async def free(self, ports: tuple[int, ...], caller: Tunnel, limit_s: float) -> bool:
        """End every connection but ``caller`` that holds any of ``ports``; tell whether they are the caller's alone then."""

    def is_serving(self) -> bool:
        """Tell whether devices are listened for."""


@dataclass(frozen=True, slots=True)
class Front:
    """The ssh side of a relay: OpenSSH and the kernel's tables, or our own server."""

    admission: Admission
    connections: Connections


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
