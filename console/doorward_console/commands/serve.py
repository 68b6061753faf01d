"""``doorward-console serve``: the three processes as children of one terminal, for a trial.

They run as one user and so are not separated from one another; it says so. When one ends, all end.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from doorward_console.config import DEFAULT_PATH, ENVIRONMENT, config_from_file
from doorward_console.edges.children import Child, end_all, start_child, wait_for_any

_PROCESSES: Final = ("signer", "worker", "web")
_END_S: Final = 8.0
"""Web closes its event streams within 5 s."""


class _Stopped(Exception):
    """SIGTERM or SIGINT came."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until asked to stop (0) or until one of the three ends by itself (1)."""
    path = Path(arguments.config or os.environ.get(ENVIRONMENT) or DEFAULT_PATH)
    config = config_from_file(path)
    sys.stderr.write(
        "web, worker and signer run as one user here and are not separated: good for a trial. "
        "For more, run each as a service with its own user (doorward-console init --separate).\n"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    program = (sys.executable, "-m", "doorward_console", "--config", str(path))
    children: list[Child] = []
    try:
        children.extend(start_child(name, (*program, name)) for name in _PROCESSES)
        sys.stderr.write(f"Console: {config.address}\n")
        ended = wait_for_any(children)
    except _Stopped:
        return 0
    else:
        sys.stderr.write(f"{ended.name} ended with {ended.process.returncode}; the others are ended, too.\n")
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        end_all(children, _END_S)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stopped
