"""Ends a door on machines without control groups: a process that inherits every orphan of the door (prctl(2)).

The runner leaves a child behind, outside the agent's reach, which is the subreaper of all that the door starts: what calls
``setsid`` and loses its parent becomes its child. At the end it kills whatever descends from it until nothing does.
``subreaper.pid`` in the door's folder names it; SIGTERM asks it for an end before the time.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final, NoReturn

from doorward_protocol.ids import SessionId

from doorward_runner.contracts import Opening
from doorward_runner.edges import clock, files, process_tree
from doorward_runner.edges.processes import ENVIRONMENT

END_WAIT_S: Final = 5.0
"""As for control groups: a kill takes milliseconds, an uninterruptible read may take seconds."""
_HEARD: Final = frozenset({signal.SIGTERM, signal.SIGCHLD})
_LOOK_EVERY_S: Final = 2.0
"""As the keeper's: how late a changed end may be noticed."""


class SubreaperCloser:
    """The closer of last resort."""

    name = "subreaper"

    def is_possible(self) -> bool:
        """Say yes: Linux 3.4 has it."""
        return True

    def start(self, opening: Opening) -> None:
        """Leave the subreaper behind; it starts the door."""
        between = os.fork()
        if between == 0:
            os.setsid()
            if os.fork() == 0:
                _stay(opening)
            os._exit(0)
        os.waitpid(between, 0)

    def end(self, session: SessionId, folder: Path) -> bool:
        """Ask the subreaper for the end and wait until it is gone; where it was killed, end what carries its mark."""
        del session
        subreaper = process_tree.read_identity(folder / "subreaper.pid")
        give_up_at = time.monotonic() + END_WAIT_S
        while subreaper is not None and process_tree.is_alive(subreaper):
            with contextlib.suppress(ProcessLookupError):
                os.kill(subreaper.pid, signal.SIGTERM)
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.01)
        return process_tree.kill_until_none(lambda: process_tree.marked(str(folder)), END_WAIT_S)


def _stay(opening: Opening) -> NoReturn:
    """Be the subreaper: start the door, wait for its end, end it. Never returns into the runner."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        _let_go_of_the_runner()
        process_tree.adopt_orphans()
        process_tree.write_identity(opening.folder / "subreaper.pid", os.getpid())
        _start_door(opening)
        if _is_end_reached(opening.folder):
            files.append(opening.ended_file, f"\n{opening.session}\n")
        process_tree.kill_until_none(lambda: process_tree.descendants(os.getpid()), None)
        files.remove_folder(opening.folder)
        status = 0
    finally:
        os._exit(status)


def _let_go_of_the_runner() -> None:
    """Hold none of its descriptors: neither its lock nor the pipe that its caller reads to the end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.closerange(3, 1024)
    os.chdir("/")


def _start_door(opening: Opening) -> None:
    started = subprocess.Popen(
        list(opening.command),
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=_hear_all_again,  # noqa: PLW1509 - this process has one thread
    )
    started.returncode = 0  # reaped with all others
    with contextlib.suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")


def _hear_all_again() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _is_end_reached(folder: Path) -> bool:
    """Wait for the end that the door's folder names; no readable end is an end. False when the runner asks for it sooner.

    What the runner asks for it has written down itself, or means to open again.
    """
    while True:
        end = files.read(folder / "end")
        left_s = int(end) - clock.now().uptime_s if end is not None and end.strip().isdecimal() else 0.0
        if left_s <= 0:
            return True
        heard = signal.sigtimedwait(_HEARD, min(left_s, _LOOK_EVERY_S))
        if heard is not None and heard.si_signo == signal.SIGTERM:
            return False
        process_tree.reap()
