"""Waiting for what will be so; whoever waits is told what for, and why it was in vain."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.03


class InVain(AssertionError):
    """It did not come to pass, and a test that waited for it fails; the sentence says what was waited for."""


def wait_until(predicate: Callable[[], T], limit_s: float, what: str) -> T:
    """Give the first true value of ``predicate``; raises InVain after ``limit_s``."""
    ends_at = time.monotonic() + limit_s
    while not (found := predicate()):
        if time.monotonic() > ends_at:
            raise InVain(f"waited {limit_s:.0f} s in vain for {what}; last seen: {found!r}")
        time.sleep(PAUSE_S)
    return found
