"""The heap of a process that holds thousands of connections: looked through when they have come or gone, and then left alone.

Python looks through all objects each time a quarter has been added, and 5,000 tunnels are a million: everybody's echo waits
for it. What stands is therefore frozen (``gc.freeze``): later looks are at what came since. It is thawed and looked
through again when enough has changed, so that what was left behind by connections that went is found; and free pages go
back to the kernel then.
"""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_SHARE: Final = 8
"""A look is worth its pause when one of so many tunnels came or went since the last one."""
_LEAST: Final = 16


class Heap:
    """Decides when; whoever owns it counts ``changes``."""

    def __init__(self) -> None:
        """Nothing is frozen yet."""
        self.changes = 0

    def settle(self, standing: int, *, is_busy: bool) -> None:
        """Look through everything and freeze it, unless little changed or somebody is just arriving."""
        if is_busy or self.changes < max(_LEAST, standing // _SHARE):
            return
        self.changes = 0
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        with suppress(OSError, AttributeError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)
