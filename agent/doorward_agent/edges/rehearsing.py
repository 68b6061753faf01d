"""Rehearsals and tests of forwards on the device: one at a time, beside whatever tunnel is open, on a thread that lasts as long as one does.

The children that dial die with their thread; nothing is left of a rehearsal but what it told.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from doorward_protocol.commands import Outcome
from doorward_protocol.ids import CommandId
from doorward_protocol.rehearsal import Rehearsal, Rehearsed, result_from_rehearsed
from doorward_protocol.targets import ForwardTest, Tried, result_from_tried

from doorward_agent.config import Config
from doorward_agent.contracts import Post
from doorward_agent.events import RehearsalTold

_log = logging.getLogger(__name__)

STOP_LIMIT_S: Final = 3.0


class RehearsalEdge:
    """``contracts.Rehearser`` on child processes."""

    def __init__(self, config: Config, runtime_dir: Path, post: Post) -> None:
        self._post = post
        self._config, self._folder = config, runtime_dir / "rehearsal"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def rehearse(self, command: CommandId, rehearsal: Rehearsal | ForwardTest) -> None:
        former = self._thread
        self._thread = threading.Thread(
            target=self._work, args=(command, rehearsal, former), name="rehearsal", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_LIMIT_S)

    def _work(self, command: CommandId, wanted: Rehearsal | ForwardTest, former: threading.Thread | None) -> None:
        if former is not None:
            former.join()  # every step of it has a limit
        began = time.monotonic()
        last, code = _nothing_of(wanted), None
        try:
            for last in self._tried(wanted):
                self._post(RehearsalTold(command, last))
        except OSError as error:  # no room or no descriptor to begin with: the tunnel beside it must not end for that
            _log.error("not tried to the end command=%s error=%s", command, error)
            code = "command.interrupted"
        if not self._stopping.is_set():  # the next agent says that it was interrupted
            lasted_ms = round((time.monotonic() - began) * 1000)
            self._post(RehearsalTold(command, last, Outcome(code or last.code, None, "", _result_of(last), lasted_ms)))

    def _tried(self, wanted: Rehearsal | ForwardTest) -> Iterator[Rehearsed | Tried]:
        if isinstance(wanted, ForwardTest):
            from doorward_agent.edges.target_trial import TargetTrial  # an idle agent does without

            yield from TargetTrial(wanted.name, None, self._config.forwards).run(with_banner=True)
            return
        from doorward_agent.edges.trial import Trying, tried  # an idle agent does without

        self._folder.mkdir(mode=0o700, exist_ok=True)
        yield from tried(Trying(self._config, self._folder, self._stopping), wanted)


def _nothing_of(wanted: Rehearsal | ForwardTest) -> Rehearsed | Tried:
    """Give what is known before the first step."""
    if isinstance(wanted, ForwardTest):
        return Tried(wanted.name, "", "", ())
    return Rehearsed(wanted.relays[0].relay, None, ())


def _result_of(last: Rehearsed | Tried) -> Mapping[str, Any]:
    return result_from_rehearsed(last) if isinstance(last, Rehearsed) else result_from_tried(last)
