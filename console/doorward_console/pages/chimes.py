"""The chime of this web process: made when its first stream or long poll needs it, and gone with the event loop."""

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

from doorward_console.edges.doorbell import Chime

_BY_LOOP: Final["WeakKeyDictionary[asyncio.AbstractEventLoop, Chime]"] = WeakKeyDictionary()
"""Django has no place for what belongs to the serving loop; so it is kept beside the loop itself."""


def chime() -> Chime:
    """Give the chime of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _BY_LOOP.get(loop)
    if found is None:
        found = _BY_LOOP[loop] = Chime()
    return found
