"""What a device has to be told: desired against reported, as a pure comparison.

An ask is not signed and is not believed; a wrong one only brings an order that the device refuses, or a wait until its
next ask.
"""

from dataclasses import dataclass
from typing import Final

from doorward_protocol.revisions import Revision

WANTS_OPEN: Final = "open"
AT_WORK: Final = frozenset({"OPENING", "OPEN", "RETRYING"})
RESEND_AFTER_MS: Final = 30_000
"""An order that the device does not seem to have heard is signed and sent again after this long, not sooner."""
MOST_PER_NONCE: Final = 3
"""Orders of one revision under one nonce: a device that refuses it for good is not told every half a minute for ever."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One part as it should be; ``door`` is ``open`` or ``shut`` for the door, and empty for settings and commands."""

    revision: Revision
    digest: str
    door: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """The same part as the device says that it is; ``door`` is its door's state.

    Attributes:
        needs_order: it has accepted this revision, and cannot go on without the order being signed again; also said in
            its stead when its door has been silent for a while: the order makes it reconcile, or at least ask.
    """

    revision: Revision
    digest: str | None
    door: str = ""
    needs_order: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Orders of the wanted revision that were made for the device's present nonces; times in ms.

    Attributes:
        count: how many there were.
        is_under_way: whether one is not yet sent.
        last_sent_at: when the last one was, or None.
    """

    count: int = 0
    is_under_way: bool = False
    last_sent_at: int | None = None


def differs(wanted: Wanted, reported: Reported) -> bool:
    """Tell whether the device is, by its own word, other than it should be."""
    if (reported.revision, reported.digest) != (wanted.revision, wanted.digest):
        return True
    if wanted.door == WANTS_OPEN:
        return reported.door == "SHUT" or reported.needs_order
    return reported.door in AT_WORK if wanted.door else reported.needs_order


def is_due(wanted: Wanted, reported: Reported, told: Told, now: int) -> bool:
    """Tell whether an order has to be asked for now."""
    if not differs(wanted, reported) or told.is_under_way or told.count >= MOST_PER_NONCE:
        return False
    return told.last_sent_at is None or now - told.last_sent_at >= RESEND_AFTER_MS
