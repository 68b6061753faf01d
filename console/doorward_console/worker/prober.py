"""The worker's eyes at plain relays: threads that look at doors again and again, and report what they find.

One thread keeps the calendar, a few look; all queues are bounded and every look has a limit. Quick while somebody waits for
the answer, slower the longer nothing changes, slow while a door is simply open. An answer that is the same as the last
one is reported once a second, so that a report that was lost does no harm. Nothing is decided here.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from doorward_console.edges.probing import probe
from doorward_console.maintenance.probes import ToProbe
from doorward_console.worker.events import DoorProbed, Event

LOG: Final = logging.getLogger("doorward.worker")
QUICK_S: Final = 0.15
"""Between looks while somebody waits: a look that is refused costs a few packets."""
QUICK_FOR_S: Final = 30.0
"""Then twice as long each time, up to ``PATIENT_S``, until something is heard of the session again."""
PATIENT_S: Final = 5.0
STEADY_S: Final = 10.0
"""While a door is open: how long green may outlive a door of which the device says nothing, besides the look's own limit."""
LIVELY: Final = 12
"""Phases of a session that is opened and shut. One with more is at a port that comes and goes, or of a device that retries: each
further phase is looked at half as quickly, for each look may become a line of the history."""
AGAIN_S: Final = 1.0
LOOKERS: Final = 16
"""Looks at once; one that meets a firewall takes five seconds."""
MOST_WAITING: Final = 1_000
STOP_S: Final = 1.0

Tell = Callable[[Event], bool]
Look = tuple[str, str | None, float]
"""A session, what was found, and when the look began."""


@dataclass(slots=True)
class _Watched:
    """A door under watch; times are monotonic seconds."""

    target: ToProbe
    since: float
    due: float
    pause_s: float = QUICK_S
    phases: int = 1
    is_looked_at: bool = False
    reported: str | None = ""
    reported_at: float = 0.0


class Prober:
    """Looks at doors; ``tell`` takes what was seen."""

    def __init__(self, tell: Tell) -> None:
        """Prepare; threads start with the first door."""
        self._tell = tell
        self._stopping = threading.Event()
        self._news = threading.Condition()
        self._wanted: dict[str, ToProbe] = {}
        self._is_told = False
        self._looks: queue.Queue[ToProbe | None] = queue.Queue(MOST_WAITING)
        self._found: list[Look] = []
        self._watched: dict[str, _Watched] = {}
        self._threads: list[threading.Thread] = []

    def follow(self, wanted: Sequence[ToProbe]) -> None:
        """Watch exactly these doors."""
        with self._news:
            self._wanted, self._is_told = {one.session: one for one in wanted}, True
            self._news.notify()
        if wanted and not self._threads:
            self._start()

    def stop(self) -> None:
        """End the threads; looks under way are left to their limit."""
        self._stopping.set()
        with self._news:
            self._is_told = True
            self._news.notify()
        for _ in self._threads[1:]:
            if not self._looks.full():
                self._looks.put_nowait(None)
        until = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        lookers = [threading.Thread(target=self._look, name=f"probe {n}", daemon=True) for n in range(LOOKERS)]
        self._threads = [threading.Thread(target=self._keep_calendar, name="probes", daemon=True), *lookers]
        for thread in self._threads:
            thread.start()

    def _look(self) -> None:
        while not self._stopping.is_set():
            target = self._looks.get()
            if target is None:
                return
            began = time.monotonic()
            code = _looked_at(target)
            with self._news:
                self._found.append((target.session, code, began))
                self._news.notify()

    def _keep_calendar(self) -> None:
        while not self._stopping.is_set():
            with self._news:
                if not self._found and not self._is_told:
                    self._news.wait(self._idle_s())
                wanted, found = self._wanted, self._found
                self._found, self._is_told = [], False
            now = time.monotonic()
            self._take(wanted, now)
            for session, code, began in found:
                self._hear(session, code, began)
            self._begin_looks(now)

    def _idle_s(self) -> float | None:
        waiting = [one.due for one in self._watched.values() if not one.is_looked_at]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _take(self, wanted: dict[str, ToProbe], now: float) -> None:
        """Take over what is wanted now; a new phase is looked at closely from its beginning."""
        for session in self._watched.keys() - wanted.keys():
            del self._watched[session]
        for session, target in wanted.items():
            held = self._watched.get(session)
            if held is None:
                self._watched[session] = _Watched(target, now, now)
            elif held.target != target:
                held.phases += 1
                held.target, held.since, held.pause_s = target, now, max(QUICK_S, _calm_s(held))
                held.due = now + _calm_s(held)

    def _hear(self, session: str, code: str | None, began: float) -> None:
        held, now = self._watched.get(session), time.monotonic()
        if held is None:
            return
        held.is_looked_at = False
        held.pause_s = _pause_s(held, now)
        held.due = now + held.pause_s
        # What was seen before the phase began is old news, and may contradict what the phase began with.
        is_old = began < held.since
        if not is_old and (code != held.reported or now - held.reported_at >= AGAIN_S):
            held.reported, held.reported_at = code, now
            self._tell(DoorProbed(session, code))

    def _begin_looks(self, now: float) -> None:
        for held in self._watched.values():
            if held.due <= now and not held.is_looked_at and not self._looks.full():
                held.is_looked_at = True
                self._looks.put_nowait(held.target)


def _looked_at(target: ToProbe) -> str | None:
    try:
        return probe(target.host, target.port, target.banner)
    except Exception:  # the root of this thread: one address that nobody thought of does not end it
        LOG.exception("a look failed session=%s", target.session)
        return "probe.refused"


def _pause_s(held: _Watched, now: float) -> float:
    """Say how long to wait until the next look."""
    if not held.target.is_awaited:
        return STEADY_S
    quick_s = max(QUICK_S, _calm_s(held))
    return quick_s if now - held.since < QUICK_FOR_S else max(quick_s, min(held.pause_s * 2, PATIENT_S))


def _calm_s(held: _Watched) -> float:
    """Say how long a session of many phases has to wait for its next look."""
    return 0.0 if held.phases <= LIVELY else float(min(QUICK_S * 2 ** min(held.phases - LIVELY, 10), STEADY_S))
