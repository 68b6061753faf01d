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
_END_S: Final = 5.0


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Clean up after trials that were killed, make a folder below ``parent`` (TMPDIR), hold it, and take it away."""
    above = parent or Path(tempfile.gettempdir())
    clean_up(above)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
    held = _hold(folder)
    try:
        yield folder
    finally:
        end_marked(folder)
        shutil.rmtree(folder, ignore_errors=True)
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
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
    """Kill what was written down and still runs, and all that carries the folder in its command line or environment."""
    ends_at = time.monotonic() + _END_S
    while (left := _marked(folder) | _carriers(folder)) and time.monotonic() < ends_at:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


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
    wanted, found = os.fsencode(folder), set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        if (
            any(wanted in _read(entry / name) for name in ("cmdline", "environ"))
            and started_at(int(entry.name)) is not None
        ):
            found.add(int(entry.name))
    return found


def _read(path: Path) -> bytes:
    """Read what may be read: the environment of a process that lets nobody look into it (the embedded door) may not."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def started_at(pid: int) -> int | None:
    """Give when a process started, in clock ticks since boot; None where it has ended (proc(5))."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if rest[0] in "ZX" else int(rest[19])


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
