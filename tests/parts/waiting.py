"""Waiting for a fact instead of sleeping for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02
"""Between the first looks."""
_LONGEST_PAUSE_S = 0.25
_PART = 10
"""A pause is at most this part of what was waited already: what comes after half a minute may come to light a quarter of a second
late, and is not looked for a thousand times, each look a program or a TLS handshake."""


def wait_until(predicate: Callable[[], T], limit_s: float = 10, what: str = "it", *, closely: bool = False) -> T:
    """Give the first true value of ``predicate``; ``closely`` for what is true for a moment only.

    Raises:
        AssertionError: nothing true came within ``limit_s``; the message names ``what`` and the last value.
    """
    began = time.monotonic()
    while True:
        found = predicate()
        if found:
            return found
        waited_s = time.monotonic() - began
        if waited_s > limit_s:
            raise AssertionError(f"waited {limit_s} s in vain for {what}; last seen: {found!r}")
        time.sleep(_PAUSE_S if closely else min(max(_PAUSE_S, waited_s / _PART), _LONGEST_PAUSE_S))
