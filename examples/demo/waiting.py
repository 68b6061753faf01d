"""Waiting for what will be so; whoever waits is told what for, and why it was in vain."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.03
"""Between the first looks; later a tenth of what was waited already."""
_LONGEST_PAUSE_S = 0.25


class InVain(AssertionError):
    """It did not come to pass, and a test that waited for it fails; the sentence says what was waited for."""


def wait_until(predicate: Callable[[], T], limit_s: float, what: str) -> T:
    """Give the first true value of ``predicate``; raises InVain after ``limit_s``."""
    began = time.monotonic()
    while not (found := predicate()):
        waited_s = time.monotonic() - began
        if waited_s > limit_s:
            raise InVain(f"waited {limit_s:.0f} s in vain for {what}; last seen: {found!r}")
        time.sleep(min(max(PAUSE_S, waited_s / 10), _LONGEST_PAUSE_S))
    return found
