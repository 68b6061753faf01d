"""The queue between the edges' threads and the one that owns the state."""

import queue
from typing import Final

from doorward_agent.events import Event, MessageArrived

MOST_WAITING: Final = 1_000
"""Messages beyond it are dropped: what mattered in them comes again after the next ask."""


class Mailbox:
    """The queue of events. Unlike ``queue.Queue`` it may be used from a signal handler."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def post(self, event: Event) -> None:
        if isinstance(event, MessageArrived) and self._events.qsize() >= MOST_WAITING:
            return
        self._events.put(event)

    def take(self, limit_s: float) -> Event | None:
        """Wait for an event, at most ``limit_s``."""
        try:
            return self._events.get(timeout=limit_s) if limit_s > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
