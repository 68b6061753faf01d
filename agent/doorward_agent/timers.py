"""Timers as data: by name, the boot-time clock's reading at which each is due."""

from collections.abc import Mapping, MutableMapping
from typing import Final

LONGEST_WAIT_S: Final = 300.0
LIVE_WAIT_S: Final = 10.0
"""While a session is live nobody sleeps longer: a wait stands still during suspend, the boot-time clock does not."""


def due(timers: Mapping[str, int], now_ms: int) -> tuple[str, ...]:
    """Name the timers that are due, earliest first."""
    return tuple(sorted((name for name, at_ms in timers.items() if at_ms <= now_ms), key=timers.__getitem__))


def wait_s(timers: Mapping[str, int], now_ms: int, *, is_live: bool) -> float:
    """Give how long to wait for an event before a timer is due."""
    longest_s = LIVE_WAIT_S if is_live else LONGEST_WAIT_S
    return min([longest_s, *(max(0, at_ms - now_ms) / 1000 for at_ms in timers.values())])


def keep(timers: MutableMapping[str, int], name: str, at_ms: int, *, is_wanted: bool) -> None:
    """Start a timer that is wanted, unless it runs already; stop one that is not."""
    if is_wanted:
        timers.setdefault(name, at_ms)
    else:
        timers.pop(name, None)
