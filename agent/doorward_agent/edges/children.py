"""Child processes that die with the agent, and the one that a crashed agent may have left.

PR_SET_PDEATHSIG is tied to the thread that forks: ``start_dying_with_us`` has to be called on a thread that lives as
long as the agent. A pid file with the start time of the process finds a leftover without mistaking a newcomer for it.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from doorward_agent.edges.files import write_whole

_log = logging.getLogger(__name__)

PR_SET_PDEATHSIG: Final = 1
END_LIMIT_S: Final = 1.0
"""How long a child may take to end on SIGTERM before it is killed."""
ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> None:
    """Run in the child between fork and exec: only calls that were looked up before the fork."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)


def start_dying_with_us(
    command: Sequence[str],
    folder: Path,
    *,
    output: int,
    source: int = subprocess.DEVNULL,
    more: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in ``folder`` that is killed when this process dies in whatever way, with ``more`` descriptors; raises OSError."""
    parent = os.getpid()
    return subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=source,
        stdout=output,
        preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  no other way to set it; _die_with takes no lock
        close_fds=True,
        pass_fds=more,
    )


def run_briefly(command: Sequence[str], folder: Path, limit_s: float) -> tuple[int, bytes]:
    """Run a program to its end and give exit status and output; one that takes too long is killed and gives 255."""
    process = start_dying_with_us(command, folder, output=subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 255, b""
    return process.returncode, output


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child and reap it."""
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_LIMIT_S)


def remember(path: Path, pid: int) -> None:
    """Write down which process is ours."""
    started = _start_time(pid)
    if started is not None:
        write_whole(path, json.dumps({"pid": pid, "started": started}).encode(), durable=False)


def end_leftover(path: Path) -> None:
    """Kill the process that ``remember`` wrote down, if that very process still lives."""
    try:
        found = json.loads(path.read_bytes())
        pid, started = int(found["pid"]), int(found["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if _start_time(pid) == started:
        _log.warning("leftover child ended pid=%s", pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    path.unlink(missing_ok=True)


def _start_time(pid: int) -> int | None:
    """Read when a process started, in clock ticks since boot (proc(5), stat, field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
