"""How often the relay looks at what is there: each second, and many times a second while somebody waits for a door."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from doorward_relay.contracts import PAUSE_S

EAGER_S: Final = 60.0
"""For so long after a grant its listener is looked for eagerly: people wait for green."""
REST: Final = 8
"""So many times as long as a long look took nothing is looked at: thousands that dial are news all the time, and each look
is at all of them."""
_LONG_S: Final = 0.02
MOST_REST_S: Final = 5.0
"""A look may have taken a minute because the whole machine stood still; sessions that ran out meanwhile are not to wait for eight."""


class Pacing:
    """Says when to look again. ``has_news`` tells, cheaply, whether a listener came or went."""

    def __init__(self, has_news: Callable[[], bool]) -> None:
        """Nobody waits for a door yet."""
        self._has_news = has_news
        self._eager_until = 0.0

    def be_eager(self) -> None:
        """Look often for a while: a door is awaited."""
        self._eager_until = time.monotonic() + EAGER_S

    def be_calm(self) -> None:
        """Look once a second: every door that is granted is up."""
        self._eager_until = 0.0

    async def wait(self, began: float) -> None:
        """Wait until a second after ``began``, when a look began that is over now; while eager, only until there is news."""
        took_s = time.monotonic() - began
        if took_s > _LONG_S:
            await asyncio.sleep(min(REST * took_s, MOST_REST_S))
        while time.monotonic() < min(began + 1, self._eager_until):
            await asyncio.sleep(PAUSE_S)
            if self._has_news():
                return
        await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))
