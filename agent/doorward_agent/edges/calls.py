"""A line of calls to the runner: worked off by one thread, in their order, each answered with one event.

The thread starts with the first call. Processes that a call has started are seen off here: a runner may live on after its
answer (it is then a door's closer), its end is not waited for, and it does not hang on the agent's life.
"""

import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final

from doorward_agent.contracts import Post
from doorward_agent.errors import Unavailable
from doorward_agent.events import Event

WAITING_CALLS: Final = 32
"""More than the machine ever has under way; a bound, so that a hung runner costs no memory."""
FIRST_FAREWELL_S: Final = 0.25
"""A runner that has answered needs so long to end; a zombie until then."""
LONGEST_FAREWELL_S: Final = 60.0
"""One that stays as long as its door (where there are no control groups) is looked after this rarely: it wakes nobody."""


def started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a runner with pipes to it; raises Unavailable."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,  # the runner's log is the agent's own
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            close_fds=True,
        )
    except OSError as error:
        raise Unavailable("runner.unavailable", str(error)) from None


class Calls:
    """One line of calls."""

    def __init__(self, name: str, post: Post) -> None:
        self._post = post
        self._waiting: queue.Queue[Callable[[], Event] | None] = queue.Queue(maxsize=WAITING_CALLS)
        self._lingering: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def put(self, call: Callable[[], Event]) -> None:
        """Let ``call`` be made after those that wait."""
        self._waiting.put_nowait(call)
        if not self._thread.ident:
            self._thread.start()

    def started(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a runner within a call, as ``started`` does."""
        process = started(command)
        self._lingering.append(process)
        return process

    def stop(self, limit_s: float) -> None:
        """Let the thread finish what it does, for a moment."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        if self._thread.ident:
            self._thread.join(limit_s)

    def _work(self) -> None:
        while (call := self._next_call()) is not None:
            self._post(call())

    def _next_call(self) -> Callable[[], Event] | None:
        """Wait for a call, and meanwhile see off whoever has answered and is ending: soon at first, then ever more rarely."""
        pause_s = FIRST_FAREWELL_S
        while True:
            self._lingering = [process for process in self._lingering if process.poll() is None]
            try:
                return self._waiting.get(timeout=pause_s if self._lingering else None)
            except queue.Empty:
                pause_s = min(2 * pause_s, LONGEST_FAREWELL_S)
