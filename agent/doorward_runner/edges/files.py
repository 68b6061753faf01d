"""Files of root's, or of whom a rootless runner runs as: written whole, flushed and renamed, with their mode from the first byte on.

Also the lock by which one runner at a time decides, and the check that nobody else can write where we keep things.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from doorward_runner.errors import ConfigError, Refused

LOCK_WAIT_S: Final = 10
"""As long as a door may take to shut; whoever waits longer is told so."""


def write(path: Path, text: str, *, mode: int, durable: bool = False) -> None:
    """Replace the file at ``path``; when ``durable``, only return once it would survive a loss of power."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        if durable:
            file.flush()
            os.fsync(descriptor)
    fresh.replace(path)
    if durable:
        flush_folder(path.parent)


def append(path: Path, text: str) -> None:
    """Add to the file at ``path`` and only return once that would survive a loss of power."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make names in ``folder`` durable (fsync(2): syncing a file does not sync its name)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> str | None:
    """Give the text at ``path``, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def prepare_folder(folder: Path, *, mode: int) -> None:
    """Make ``folder`` where it is missing; raises ConfigError when others than ourselves could write there."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be made: {error}"]) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        whose = "root's" if os.geteuid() == 0 else "this user's own"
        raise ConfigError([f"{folder}: must be a folder of {whose} that nobody else can write to"])
    if stat.S_IMODE(found.st_mode) != mode:
        folder.chmod(mode)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` and the files in it, whoever else may be removing them."""
    for file in folder.glob("*"):
        file.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        folder.rmdir()


@contextmanager
def locked(path: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock at ``path``; raises Refused ``runner.busy`` when another runner does not let go of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, wait_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, wait_s: float) -> None:
    give_up_at = time.monotonic() + wait_s
    while not _took_lock(descriptor):
        if time.monotonic() > give_up_at:
            raise Refused("runner.busy", f"another order has been at work for {wait_s} s")
        time.sleep(0.02)


def _took_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
