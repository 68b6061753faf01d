"""Child processes that end with their parent, whatever ends it. For ``serve`` alone."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2). Tied to the thread that forks: start children from the main thread."""
_LOOK_S: Final = 0.1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Child:
    """One started process."""

    name: str
    process: "subprocess.Popen[bytes]"


def start_child(name: str, argv: Sequence[str]) -> Child:
    """Start a process that gets SIGTERM when we are gone."""
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before the line above
            os._exit(1)

    process = subprocess.Popen(list(argv), preexec_fn=die_with_parent)  # noqa: PLW1509  # there are no threads yet
    return Child(name, process)


def wait_for_any(children: Sequence[Child]) -> Child:
    """Wait until one of them has ended, and give it."""
    while True:
        for child in children:
            if child.process.poll() is not None:
                return child
        time.sleep(_LOOK_S)


def end_all(children: Sequence[Child], limit_s: float) -> None:
    """Ask all to end, and insist after ``limit_s``."""
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    ends_at = time.monotonic() + limit_s
    for child in children:
        _insist(child, max(0.1, ends_at - time.monotonic()))


def _insist(child: Child, limit_s: float) -> None:
    try:
        child.process.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
