"""Ends a door by systemd: a transient unit whose control group is killed as a whole, also when nobody of ours is alive; and runs hooks.

The unit's main process is the keeper, the door is its child: when the keeper reaches the end, or is killed, systemd ends
everything in the unit. ``RuntimeMaxSec`` is the outer wall, which even a keeper that never looks at the clock cannot pass; the
session's own end is the keeper's, because a unit's limit cannot be moved while it runs and a session's end can.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from doorward_protocol.ids import SessionId

from doorward_runner.contracts import Opening
from doorward_runner.edges.processes import ENVIRONMENT, KEEPER
from doorward_runner.errors import Refused

_TIME_LIMIT_S: Final = 10
_AS_A_CHILD: Final = 'trap : HUP INT PIPE TERM; "$1"; exit $?'
"""systemd calls a service that one of these signals ended a success: what ended a hook is told by a shell, as a status above 128."""
_NOT_LOADED: Final = 5
"""systemctl's exit status when there is no such unit: nothing is left."""


class SystemdCloser:
    """The closer of machines that systemd runs."""

    name = "systemd"

    def is_possible(self) -> bool:
        """Tell whether systemd is the init system (sd_booted(3)), and would start a unit of the system's for us."""
        return os.geteuid() == 0 and Path("/run/systemd/system").is_dir()

    def start(self, opening: Opening) -> None:
        """Start the unit."""
        status, words = _run(run_command(opening))
        if status != 0:
            raise Refused("door.not-started", words)

    def end(self, session: SessionId, folder: Path) -> bool:
        """Stop the unit."""
        del folder
        return stop(_unit_of(session))


def run_command(opening: Opening) -> list[str]:
    """Give the command line that starts the door's unit (systemd-run(1), systemd.kill(5))."""
    return [
        "/usr/bin/systemd-run",
        "--quiet",
        "--collect",
        f"--unit={_unit_of(opening.session)}",
        f"--property=RuntimeMaxSec={opening.longest_s}",
        "--property=KillMode=control-group",
        "--property=KillSignal=SIGKILL",
        "--property=OOMPolicy=continue",
        "--",
        "/bin/sh",
        str(KEEPER),
        str(opening.folder),
        opening.session,
        str(opening.ended_file),
        "-",
        *opening.command,
    ]


def hook_command(hook: Path, environment: Mapping[str, str], limit_s: float, grace_s: float) -> list[str]:
    """Give the command line that runs a hook as a unit, in our place: its pipes are ours, and so is its exit status."""
    names = [f"--setenv={name}={value}" for name, value in environment.items()]
    limits = [f"--property=RuntimeMaxSec={limit_s:g}", f"--property=TimeoutStopSec={grace_s:g}"]
    unit = ["--quiet", "--collect", "--wait", "--pipe", f"--unit=doorward-hook-{hook.name}", *limits, *names]
    return ["/usr/bin/systemd-run", *unit, "--", "/bin/sh", "-c", _AS_A_CHILD, "sh", str(hook)]


def end_hooks() -> bool:
    """End every unit of a hook's with all its processes; tell whether none is left."""
    status, _ = _run(["/usr/bin/systemctl", "stop", "doorward-hook-*.service"])
    return status == 0


def started(command: list[str]) -> None:
    """Run systemd-run; raises OSError where it did not take the unit."""
    status, words = _run(command)
    if status != 0:
        raise OSError(words)


def stop(unit: str) -> bool:
    """End whatever runs as ``unit``, and tell whether nothing is left; systemctl returns once its control group is empty."""
    return _run(["/usr/bin/systemctl", "stop", unit])[0] in (0, _NOT_LOADED)


def _unit_of(session: SessionId) -> str:
    return f"doorward-door-{session}.service"


def _run(command: list[str]) -> tuple[int, str]:
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIME_LIMIT_S, check=False, env=ENVIRONMENT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return ran.returncode, ran.stderr.decode(errors="replace").strip()[-500:]
