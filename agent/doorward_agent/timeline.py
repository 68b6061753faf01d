"""Console time on a device that may not know the year: an offset to the boot-time clock (protocol.md §4, "Time").

Taken from accepted orders; within a boot it moves back only where an order proves that it was wrong (ADR 25). Unknown after a
reboot until the next order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from doorward_protocol.records import Moment


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of the time in this boot.

    Attributes:
        offset_ms: console time minus the boot-time clock; None before the first order of this boot.
    """

    boot: str
    offset_ms: int | None = None

    def console_ms(self, now_ms: int) -> int | None:
        return None if self.offset_ms is None else now_ms + self.offset_ms

    def moment(self, now_ms: int) -> Moment:
        """Place an event for the history."""
        return Moment(self.console_ms(now_ms), self.boot, now_ms)


def heard(timeline: Timeline, issued_at: int, now_ms: int, nonce_ms: int) -> Timeline:
    """Take an accepted order's time, unless what is known may be as true.

    The order was signed between ``nonce_ms``, when the nonce that it echoes was made, and now. So it was ``issued_at`` at
    one of these readings: a time that was known and lies between what they give is kept, for an order that was held back
    says less than it. A later one was wrong: the console's clock had been ahead, and was set back.
    """
    held_ms, offset_ms = timeline.offset_ms, issued_at - now_ms
    if held_ms is not None and offset_ms <= held_ms <= issued_at - nonce_ms:
        return timeline
    return replace(timeline, offset_ms=offset_ms)


def document_from_timeline(timeline: Timeline) -> Mapping[str, Any]:
    return {"boot": timeline.boot, "offset_ms": timeline.offset_ms}


def timeline_from_document(document: Mapping[str, Any] | None, boot: str) -> Timeline:
    """Read what an earlier agent of this boot wrote down; anything else is forgotten."""
    if document is None or document.get("boot") != boot or not isinstance(document.get("offset_ms"), int):
        return Timeline(boot)
    return Timeline(boot, document["offset_ms"])
