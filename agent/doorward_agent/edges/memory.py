"""Giving memory back to the kernel that the C library keeps for later.

Starting takes more than waiting does, most of all where Python could not keep its compiled files and compiled them anew: 4 MiB
that an agent which waits for months would hold for nothing.
"""

import contextlib
import ctypes
import gc


def give_back() -> None:
    """Free what nothing refers to, from now on by itself, and return whole free pages; musl has nothing to call for that."""
    gc.enable()
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
