"""Counting refusals: the first of its kind is recorded at once, equal ones within a minute are counted (protocol.md §4).

So a broker that floods the device with rubbish fills neither the journal nor the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class _Count:
    since_ms: int
    more: int = 0


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often each kind (a code, or a code for one revision) was met since it was last recorded."""

    counts: Mapping[str, _Count] = field(default_factory=dict)


def refused(refusals: Refusals, code: str, now_ms: int) -> tuple[Refusals, int]:
    """Count one refusal; gives how many a record has to stand for now, 0 for none yet."""
    count = refusals.counts.get(code)
    if count is not None and now_ms - count.since_ms < MINUTE_MS:
        return Refusals({**refusals.counts, code: _Count(count.since_ms, count.more + 1)}), 0
    times = 1 if count is None else count.more + 1
    return Refusals({**refusals.counts, code: _Count(now_ms)}), times


def swept(refusals: Refusals, now_ms: int) -> tuple[Refusals, Mapping[str, int]]:
    """Give what is left to be recorded of codes whose minute has passed, by code."""
    due = {code: count for code, count in refusals.counts.items() if now_ms - count.since_ms >= MINUTE_MS}
    kept = {code: count for code, count in refusals.counts.items() if code not in due}
    return Refusals(kept), {code: count.more for code, count in due.items() if count.more}
