"""The timer that puts settings back: armed before they are tried, and nobody of ours has to be alive when it comes.

A unit of systemd's where that runs; else a shell that sleeps, in a session of its own. It counts in the running boot; what a
reboot or somebody's SIGKILL takes from it, the runner does at boot, and at whatever it is asked next.
"""

import sys
from collections.abc import Sequence
from typing import Final

from doorward_runner.config import RunnerConfig
from doorward_runner.edges.processes import start_apart
from doorward_runner.edges.systemd import SystemdCloser, started
from doorward_runner.errors import Refused

_SLEEP: Final = 'sleep "$1"; shift; exec "$@"'


def arm(config: RunnerConfig, delay_s: float, name: str) -> None:
    """Have ``doorward-runner revert`` run after ``delay_s``; ``name`` tells this trial's timer from others'.

    Raises:
        Refused: ``settings.no-timer``, and nothing may be tried.
    """
    command = [sys.executable, "-I", "-m", "doorward_runner", "--config", str(config.source), "revert"]
    try:
        if SystemdCloser().is_possible():
            started(_unit(command, delay_s, name))
        else:
            start_apart(["/bin/sh", "-c", _SLEEP, "sh", f"{delay_s:g}", *command], lambda: None)
    except OSError as error:
        raise Refused("settings.no-timer", str(error)) from error


def _unit(command: Sequence[str], delay_s: float, name: str) -> list[str]:
    """Give the command line that starts the timer's unit (systemd-run(1))."""
    when = [f"--on-active={delay_s:g}", "--timer-property=AccuracySec=1s"]
    return ["/usr/bin/systemd-run", "--quiet", "--collect", f"--unit=doorward-trial-{name}", *when, "--", *command]
