"""The heap of a process that holds thousands of connections: what stands is put aside, and looked through when nobody waits.

Python looks through all objects each time a quarter has been added, and 5,000 tunnels are a million: everybody's echo waits
for it. What came is therefore looked through and frozen (``gc.freeze``) step by step, while others still dial: a step's pause is as
long as what came since the last one is large. What connections that went have left among the frozen is found by thawing and looking
through everything, half a second with 5,000: that is done when nobody visits, or when there is much of it; and free pages go
back to the kernel then.
"""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_STEP: Final = 64
"""Newcomers whose some 12,000 objects are looked through in about the time of three set-ups."""
_SHARE: Final = 8
"""A look at everything is worth its pause when one of so many tunnels went since the last one."""
_LEAST: Final = 16


class Heap:
    """Decides when; whoever owns it counts tunnels that ``came`` and that are ``gone``."""

    def __init__(self) -> None:
        """Nothing is frozen yet."""
        self.came = self.gone = 0

    def settle(self, standing: int, *, is_visited: bool) -> None:
        """Freeze what came, or look through everything; do nothing where little changed."""
        if self.gone >= max(_LEAST, standing // _SHARE) and (self.gone >= standing or not is_visited):
            self.came = self.gone = 0
            gc.unfreeze()
            _look_through()
        elif self.came >= _STEP:
            self.came = 0
            _look_through()


def _look_through() -> None:
    """Free what nobody holds of what is not frozen, freeze the rest, and give free pages back."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # musl has none
        ctypes.CDLL(None).malloc_trim(0)
