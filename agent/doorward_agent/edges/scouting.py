"""Looking ahead for a tunnel's named forwards: whether they are allowed, where their names lead, whether anything answers there.

A thread of its own for each tunnel that has some: a resolver or a target that hangs holds up neither the door nor its end. What
cannot be reached, and what the relay refuses, is tried again; what the configuration does not allow is not, for it is read at the
agent's start alone.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from doorward_protocol.orders import Forward

from doorward_agent.config import AllowedForward
from doorward_agent.edges.dialling import Found
from doorward_agent.edges.reachability import Lookup
from doorward_agent.edges.target_trial import TargetTrial

_log = logging.getLogger(__name__)

AGAIN_S: Final = 15.0
_FINAL: Final = frozenset({"forward.not-allowed", "forward.other-target"})


class Scout:
    """Tells ``Found`` for each forward, on its own thread, until each was found or refused for good."""

    def __init__(
        self,
        allowed: Mapping[str, AllowedForward],
        lookup: Lookup,
        tell: Callable[[Found], None],
    ) -> None:
        self._allowed, self._lookup, self._tell = allowed, lookup, tell
        self._stopping = threading.Event()

    def begin(self, attempt: int, forwards: Sequence[Forward]) -> None:
        self._start(attempt, forwards, 0.0)

    def again(self, attempt: int, forward: Forward) -> None:
        """Look at one anew after a while: its target answered, and the relay refused its port, which may be held for a moment only."""
        self._start(attempt, [forward], AGAIN_S)

    def stop(self) -> None:
        """Find nothing more; what is under way has its own limits and is told to nobody."""
        self._stopping.set()

    def _start(self, attempt: int, forwards: Sequence[Forward], pause_s: float) -> None:
        """Work on a thread of its own; where none is left, the forwards cannot be reached, and are not tried again in this tunnel."""
        try:
            threading.Thread(target=self._work, args=(attempt, forwards, pause_s), name="scout", daemon=True).start()
        except RuntimeError as error:
            _log.error("forwards not looked into error=%s", error)
            for one in forwards:
                self._tell(Found(attempt, one, None, "", "forward.unreachable"))

    def _work(self, attempt: int, forwards: Sequence[Forward], pause_s: float) -> None:
        waiting = list(forwards)
        self._stopping.wait(pause_s)
        while waiting and not self._stopping.is_set():
            waiting = [one for one in waiting if self._is_to_be_tried_again(attempt, one)]
            if waiting:
                self._stopping.wait(AGAIN_S)

    def _is_to_be_tried_again(self, attempt: int, forward: Forward) -> bool:
        trial = TargetTrial(forward.name, forward.target, self._allowed, self._lookup)
        *_, last = trial.run(with_banner=False)
        if not self._stopping.is_set():
            place = trial.place if last.code is None else None
            self._tell(Found(attempt, forward, place, last.address, last.code))
        return last.code is not None and last.code not in _FINAL
