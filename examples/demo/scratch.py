"""The trial's one folder: made, held while the trial runs, and taken away, also where an earlier trial was killed.

A folder is held by a lock that goes with its process. ``children`` in it names every process that was started, with its
start time, so that whoever comes after a killed trial ends exactly those and nobody else's.
"""

import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "doorward-demo-"
MARK: Final = "children"
LOCK: Final = "lock"
_END_S: Final = 5.0


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Clean up after trials that were killed, make a folder below ``parent`` (TMPDIR), hold it, and take it away."""
    above = parent or Path(tempfile.gettempdir())
    clean_up(above)
    folder, held = _made(above)
    try:
        yield folder
    finally:
        end_marked(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made(above: Path) -> tuple[Path, int]:
    """Make a folder and hold it; another where a trial that starts in the same moment took it for a killed one's."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
        with suppress(FileNotFoundError):
            held = _hold(folder)
            if held is not None and (folder / LOCK).exists():
                return folder, held
            if held is not None:
                os.close(held)


def clean_up(above: Path) -> list[Path]:
    """End and remove what killed trials of this user left in ``above``; gives their folders."""
    left = []
    for folder in above.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            held = _hold(folder)
            if held is None:
                continue  # a trial is running in it
            end_marked(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
            left.append(folder)
    return left


def _hold(folder: Path) -> int | None:
    held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


def mark(folder: Path, pid: int) -> None:
    """Write down a process of the trial's."""
    with (folder / MARK).open("a") as children:
        children.write(json.dumps([pid, started_at(pid)]) + "\n")


def end_marked(folder: Path) -> None:
    """Kill what was written down and still runs, all that carries the folder's name, and whatever those started."""
    ends_at = time.monotonic() + _END_S
    while (left := _next_to_end(folder)) and time.monotonic() < ends_at:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


def _next_to_end(folder: Path) -> set[int]:
    """Name programs' offspring before the programs: an engineer's stray is out of sight once its door's closer is dead."""
    programs = _marked(folder) | _carriers(folder)
    return _offspring(programs) or programs


def _offspring(programs: set[int]) -> set[int]:
    parents = {pid: stat[1] for pid in _pids() if (stat := _stat(pid)) is not None}
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in programs | found} - programs - found:
        found |= more
    return found - {os.getpid()}


def _marked(folder: Path) -> set[int]:
    try:
        lines = (folder / MARK).read_text().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        with suppress(ValueError):  # a line that was being written when the trial was killed
            pid, started = json.loads(line)
            if started is not None and started_at(pid) == started:
                found.add(int(pid))
    return found


def _carriers(folder: Path) -> set[int]:
    """Find this user's processes that name the folder: a door's, whose runner has gone."""
    return {pid for pid in _pids() if pid != os.getpid() and _names(pid, folder) and started_at(pid) is not None}


def _names(pid: int, folder: Path) -> bool:
    """Tell whether a command line names the folder, or a variable of ours does; a shell that only stands in it is not ours."""
    wanted = os.fsencode(folder)
    if _complains_to(pid).startswith(f"{folder}/"):
        return True
    variables = (b"\0" + _read(pid, "environ")).split(b"\0")
    return wanted in _read(pid, "cmdline") or any(
        one.startswith((b"HOME=" + wanted, b"DOORWARD_DOOR=" + wanted)) for one in variables
    )


def _complains_to(pid: int) -> str:
    """Name where a process's standard error goes: a session of the relay's sshd writes its own title over all else by which it could be known."""
    try:
        return str(Path(f"/proc/{pid}/fd/2").readlink())
    except OSError:
        return ""


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    """Read what may be read: the environment of a process that lets nobody look into it (the embedded door) may not."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def started_at(pid: int) -> int | None:
    """Give when a process started, in clock ticks since boot; None where it has ended (proc(5))."""
    stat = _stat(pid)
    return None if stat is None else stat[0]


def _stat(pid: int) -> tuple[int, int] | None:
    """Give a process's start and its parent; None where it has ended."""
    rest = _read(pid, "stat").rpartition(b")")[2].split()
    return None if not rest or rest[0] in b"ZX" else (int(rest[19]), int(rest[1]))


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
