"""Waiting for a fact instead of sleeping for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02
"""Between two looks: short against what is waited for, long against what a look costs."""


def wait_until(predicate: Callable[[], T], limit_s: float = 10, what: str = "it") -> T:
    """Give the first true value of ``predicate``.

    Raises:
        AssertionError: nothing true came within ``limit_s``; the message names ``what`` and the last value.
    """
    ends_at = time.monotonic() + limit_s
    while True:
        found = predicate()
        if found:
            return found
        if time.monotonic() > ends_at:
            raise AssertionError(f"waited {limit_s} s in vain for {what}; last seen: {found!r}")
        time.sleep(_PAUSE_S)
