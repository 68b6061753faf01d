"""Counting refusals: equal ones within a minute are one record, so that nobody can fill a history by being refused.

Pure; called by ``runtime``. protocol.md §4: "equal ones within a minute are counted, not repeated".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.ids import SessionId

WINDOW_MS: Final = 60_000

Key = tuple[str, SessionId | None]
"""Code and session."""


@dataclass(frozen=True, slots=True)
class Tally:
    """When a refusal was last recorded (ms), and how many equal ones came since."""

    since: Mapping[Key, tuple[int, int]] = field(default_factory=dict)


def count(tally: Tally, key: Key, *, now: int) -> tuple[Tally, int | None]:
    """Count one refusal; gives how many to record now, or None while it is only counted."""
    at, held_back = tally.since.get(key, (now - WINDOW_MS, 0))
    if now - at < WINDOW_MS:
        return Tally({**tally.since, key: (at, held_back + 1)}), None
    recent = {name: one for name, one in tally.since.items() if now - one[0] < 60 * WINDOW_MS}
    return Tally({**recent, key: (now, 0)}), held_back + 1
