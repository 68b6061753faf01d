"""Console time on a device that may not know the year: an offset to the boot-time clock (protocol.md §4, "Time").

Taken from accepted orders, never moving back within a boot, unknown after a reboot until the next order.
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


def heard(timeline: Timeline, issued_at: int, now_ms: int) -> Timeline:
    """Take an accepted order's time, unless it would move the device's time back."""
    offset_ms = issued_at - now_ms
    if timeline.offset_ms is not None and offset_ms <= timeline.offset_ms:
        return timeline
    return replace(timeline, offset_ms=offset_ms)


def document_from_timeline(timeline: Timeline) -> Mapping[str, Any]:
    return {"boot": timeline.boot, "offset_ms": timeline.offset_ms}


def timeline_from_document(document: Mapping[str, Any] | None, boot: str) -> Timeline:
    """Read what an earlier agent of this boot wrote down; anything else is forgotten."""
    if document is None or document.get("boot") != boot or not isinstance(document.get("offset_ms"), int):
        return Timeline(boot)
    return Timeline(boot, document["offset_ms"])
