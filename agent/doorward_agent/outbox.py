"""Which records go out next: in their order, at most 64 in flight, again from the receipted one on (protocol.md §5).

A receipt says what the console has stored; the broker's acknowledgement only makes room for the next message.
"""

from dataclasses import dataclass, replace
from typing import Final

MOST_IN_FLIGHT: Final = 64


@dataclass(frozen=True, slots=True)
class Outbox:
    """Where sending stands.

    Attributes:
        receipted: the console has stored everything up to this number.
        sent: handed to the broker's client up to this number since the connection came up.
        in_flight: numbers that the broker has not acknowledged.
    """

    receipted: int = 0
    sent: int = 0
    in_flight: frozenset[int] = frozenset()

    @property
    def room(self) -> int:
        return MOST_IN_FLIGHT - len(self.in_flight)


def restarted(outbox: Outbox) -> Outbox:
    """Send again from the receipted record on: the connection is new, or no receipt came for long."""
    return replace(outbox, sent=outbox.receipted, in_flight=frozenset())


def sent(outbox: Outbox, n: int) -> Outbox:
    return replace(outbox, sent=n, in_flight=outbox.in_flight | {n})


def delivered(outbox: Outbox, n: int) -> Outbox:
    return replace(outbox, in_flight=outbox.in_flight - {n})


def receipted(outbox: Outbox, upto: int) -> Outbox:
    """Take a receipt as it is; one that is lower than an earlier one starts sending from there (a restored console)."""
    if upto < outbox.receipted:
        return Outbox(upto, upto)
    return replace(outbox, receipted=upto, sent=max(outbox.sent, upto))
