"""``doorward-agent rehearse``: a person at the device asks whether the door would open, and sees each step as it comes.

A running agent is asked (SIGUSR1): it wishes for a rehearsal with its next ask, the console grants it, and how far it has come
stands in the runtime folder. Without an agent there is no permission to log in: then the way of the last rehearsal is tried
as far as the relay's host key.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import reason_of
from doorward_protocol.rehearsal import Rehearsed, Step, rehearsal_from_arguments, rehearsed_from_result

from doorward_agent.config import Config
from doorward_agent.edges.files import DocumentStore, holder_of
from doorward_agent.edges.folders import runtime_dir
from doorward_agent.edges.trial import Trying, tried

BEGINS_WITHIN_S: Final = 30.0
"""A console that is there asks within a second; one that just started, within half a minute."""
LASTS_AT_MOST_S: Final = 180.0
LOOK_S: Final = 0.05
_NOT_TRIED_ALONE: Final = ("log-in", "refusal")


def rehearse(config: Config) -> int:
    """Rehearse and show it; gives the exit status: 0 where a door would open."""
    store = DocumentStore(config.state_dir, runtime_dir(config))
    agent = holder_of(config.state_dir)
    if agent is None:
        return _alone(config, store)
    before = (store.load("rehearsal") or {}).get("command")
    try:
        os.kill(agent, signal.SIGUSR1)
    except PermissionError:
        return _say(1, "The agent is another user's: run this as root or as the agent's user.")
    last = _shown(_told(store, before))
    if last is None:
        return _say(1, "The console did not ask for a rehearsal. Is the device connected? doorward-agent status")
    if last.code is None and last.opens_in_ms is not None:
        return _say(0, f"A door would open in {last.opens_in_ms / 1000:.1f} s, by {last.way}.")
    return _say(1, "A door would not open.")


def _told(store: DocumentStore, before: object) -> Iterator[Rehearsed]:
    """Give how far the rehearsal after ``before`` has come, each time that it has come further, until it is over."""
    deadline, seen = time.monotonic() + BEGINS_WITHIN_S, 0
    while time.monotonic() < deadline:
        document = store.load("rehearsal") or {}
        if document.get("command") not in (None, before):
            rehearsed = rehearsed_from_result(document)
            if not seen:
                deadline = time.monotonic() + LASTS_AT_MOST_S
            if len(rehearsed.steps) != seen or document.get("is_over"):
                yield rehearsed
            seen = len(rehearsed.steps)
            if document.get("is_over"):
                return
        time.sleep(LOOK_S)


def _alone(config: Config, store: DocumentStore) -> int:
    """Try what can be tried without the console: where the last rehearsal went, up to the host key."""
    kept = store.load("rehearsal-route")
    if kept is None:
        return _say(1, "No agent is running, and none has rehearsed here yet: doorward-agent run")
    try:
        rehearsal = rehearsal_from_arguments(kept)
    except Malformed:
        return _say(1, "No agent is running, and what the last one rehearsed cannot be read: doorward-agent run")
    _say(0, "No agent is running: trying the way of the last rehearsal.")
    with tempfile.TemporaryDirectory() as folder:
        last = _shown(tried(Trying(config, Path(folder), threading.Event()), rehearsal), _NOT_TRIED_ALONE)
    if last is not None and last.code is not None and _failed(last).step not in _NOT_TRIED_ALONE:
        return _say(1, "A door would not open.")
    return _say(1, "log-in and refusal were not tried: only a running agent is given permission to log in.")


def _shown(told: Iterable[Rehearsed], untold: tuple[str, ...] = ()) -> Rehearsed | None:
    """Print each step once, but for those in ``untold``; gives the last word."""
    last: Rehearsed | None = None
    for rehearsed in told:
        known = last.steps if last is not None and last.relay == rehearsed.relay else ()
        for step in rehearsed.steps[len(known) :]:
            if step.step not in untold:
                _say(0, line_of(step))
        last = rehearsed
    return last


def line_of(step: Step) -> str:
    """Write a step for a terminal."""
    took = "" if step.ms is None else f"{step.ms} ms"
    if step.code is None:
        return f"{step.step:<9} {took:>8}  ok"
    reason = reason_of(step.code)
    return f"{step.step:<9} {took:>8}  {step.code}: {reason.meaning} {reason.next}"


def _failed(rehearsed: Rehearsed) -> Step:
    return next(step for step in rehearsed.steps if step.code is not None)


def _say(status: int, sentence: str) -> int:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()
    return status
