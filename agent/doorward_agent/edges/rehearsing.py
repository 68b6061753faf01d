"""Rehearsals on the device: one at a time, beside whatever tunnel is open, on a thread that lasts as long as one does.

The children that dial die with their thread; nothing is left of a rehearsal but what it told.
"""

import threading
import time
from pathlib import Path
from typing import Final

from doorward_protocol.commands import Outcome
from doorward_protocol.ids import CommandId
from doorward_protocol.rehearsal import Rehearsal, Rehearsed, result_from_rehearsed

from doorward_agent.config import Config
from doorward_agent.contracts import Post
from doorward_agent.events import RehearsalTold

STOP_LIMIT_S: Final = 3.0


class RehearsalEdge:
    """``contracts.Rehearser`` on child processes."""

    def __init__(self, config: Config, runtime_dir: Path, post: Post) -> None:
        self._post = post
        self._config, self._folder = config, runtime_dir / "rehearsal"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def rehearse(self, command: CommandId, rehearsal: Rehearsal) -> None:
        former = self._thread
        self._thread = threading.Thread(
            target=self._work, args=(command, rehearsal, former), name="rehearsal", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_LIMIT_S)

    def _work(self, command: CommandId, rehearsal: Rehearsal, former: threading.Thread | None) -> None:
        from doorward_agent.edges.trial import Trying, tried  # an idle agent does without

        if former is not None:
            former.join()  # every step of it has a limit
        self._folder.mkdir(mode=0o700, exist_ok=True)
        began = time.monotonic()
        last = Rehearsed(rehearsal.relays[0].relay, None, ())
        for last in tried(Trying(self._config, self._folder, self._stopping), rehearsal):
            self._post(RehearsalTold(command, last))
        if not self._stopping.is_set():  # the next agent says that it was interrupted
            lasted_ms = round((time.monotonic() - began) * 1000)
            outcome = Outcome(last.code, None, "", result_from_rehearsed(last), lasted_ms)
            self._post(RehearsalTold(command, last, outcome))
