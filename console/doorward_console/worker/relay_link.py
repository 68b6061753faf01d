"""One relay's threads: one puts, one ends, one waits for records. They only call and report; nothing is decided here.

Ends have a thread of their own because a relay may take ten seconds over one, and an opening must not wait for that. All
queues are bounded; every wait has a limit; a relay that is away is tried again with a growing pause.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from doorward_console.edges.relay_client import LONGEST_WAIT_S, RelayAway, RelayClient, RelayRefused
from doorward_console.maintenance.grants import ToEnd, ToPut, ToReconcile
from doorward_console.worker.events import (
    AskVersion,
    Call,
    Event,
    GrantEnded,
    GrantPut,
    RecordsCame,
    RelayFailed,
    RelayReconciled,
    RelayVersion,
    SendReceipt,
)

MOST_CALLS: Final = 1000
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

Tell = Callable[[Event], bool]


class RelayLink:
    """Talks to one relay; ``tell`` takes what came of it."""

    def __init__(self, relay: str, client: RelayClient, tell: Tell) -> None:
        """Prepare; ``start`` starts the threads."""
        self.relay = relay
        self._client = client
        self._tell = tell
        self._stopping = threading.Event()
        self._calls: queue.Queue[Call | None] = queue.Queue(MOST_CALLS)
        self._ends: queue.Queue[Call | None] = queue.Queue(MOST_CALLS)
        self._after: queue.Queue[int | None] = queue.Queue(2)
        self._last_after = 0
        self._threads = [
            threading.Thread(target=self._serve, args=(self._calls,), name=f"puts {relay}", daemon=True),
            threading.Thread(target=self._serve, args=(self._ends,), name=f"ends {relay}", daemon=True),
            threading.Thread(target=self._listen, name=f"records {relay}", daemon=True),
        ]

    def start(self, after: int) -> None:
        """Start the threads; records are waited for from the one after ``after``."""
        self.wait_for_records(after)
        for thread in self._threads:
            thread.start()

    def call(self, call: Call) -> bool:
        """Queue a call; False when the queue is full (what is to be done stays in the database)."""
        try:
            (self._ends if isinstance(call, ToEnd) else self._calls).put_nowait(call)
        except queue.Full:
            return False
        return True

    def wait_for_records(self, after: int) -> None:
        """Let the listener ask for the page after ``after``."""
        self._last_after = after
        self.nudge()

    def nudge(self) -> None:
        """Let the listener ask again from where it last did; one that is asking does so once more."""
        with suppress(queue.Full):
            self._after.put_nowait(self._last_after)

    def stop(self) -> None:
        """Tell the threads to end; waits for none of them: a long poll may take its time to notice."""
        self._stopping.set()
        for waiting in (self._calls, self._ends, self._after):
            _put_end(waiting)

    def join(self, until: float) -> None:
        """Wait for the threads until the monotonic time ``until``; what is left by then reports to nobody any more."""
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        self._client.close()

    def _serve(self, calls: "queue.Queue[Call | None]") -> None:
        while not self._stopping.is_set():
            call = calls.get()
            if call is not None:
                event = self._attempt(call)
                if event is not None:
                    self._report(event)

    def _attempt(self, call: Call) -> Event | None:
        try:
            return self._perform(call)
        except (RelayAway, RelayRefused) as error:
            match call:
                case ToPut():
                    return GrantPut(call, error.code)
                case ToEnd():
                    return GrantEnded(call, error.code)
                case _:
                    return RelayFailed(self.relay, error.code)

    def _perform(self, call: Call) -> Event | None:
        match call:
            case ToPut():
                self._put(call)
                return GrantPut(call, None)
            case ToEnd():
                self._client.end_grant(call.session, call.epoch, call.sequence, call.why)
                return GrantEnded(call, None)
            case ToReconcile():
                return RelayReconciled(call, self._client.reconcile(call.epoch, call.as_of, call.sessions))
            case SendReceipt():
                self._client.send_receipt(call.envelope)
                return None
            case AskVersion():
                return RelayVersion(self.relay, self._client.version())

    def _put(self, call: ToPut) -> None:
        """Put a grant; once more at once when the connection broke: a relay that was just restarted is there again."""
        try:
            self._client.put_grant(call.session, call.envelope)
        except RelayAway as error:
            if error.code != "relay.unreachable" or self._stopping.wait(FIRST_PAUSE_S):
                raise
            self._client.put_grant(call.session, call.envelope)

    def _report(self, event: Event) -> None:
        """Report until there is room: an answer that is lost would be waited for."""
        while not self._stopping.is_set() and not self._tell(event):
            continue

    def _listen(self) -> None:
        pause_s, wait_s = FIRST_PAUSE_S, 0  # the first answer comes at once: it says that the relay is there
        after = self._after.get()
        while after is not None and not self._stopping.is_set():
            try:
                page = self._client.records(after, wait_s)
            except (RelayAway, RelayRefused) as error:
                self._report(RelayFailed(self.relay, error.code))
                self._stopping.wait(pause_s)
                pause_s, wait_s = min(pause_s * 2, LONGEST_PAUSE_S), 0
                continue
            pause_s, wait_s = FIRST_PAUSE_S, LONGEST_WAIT_S
            self._report(RecordsCame(self.relay, page))
            after = self._after.get()


def _put_end(waiting: "queue.Queue[Call | None] | queue.Queue[int | None]") -> None:
    """Wake a thread to its end; a full queue wakes it anyway."""
    with suppress(queue.Full):
        waiting.put_nowait(None)
