"""Files: written whole and renamed, their mode set at creation; folders that sshd will accept."""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes, mode: int) -> None:
    """Replace ``path`` by ``content`` so that a reader sees the old text or the new one, also after a power cut."""
    raw = content.encode() if isinstance(content, str) else content
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        _write(fresh, raw, mode)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)  # half a file on a full disk would keep it full
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def empty(path: Path) -> None:
    """Take away what a file says, for which a full disk has room; a file that is not there is empty enough."""
    try:
        os.truncate(path, 0)
    except FileNotFoundError:
        return
    except OSError:
        path.unlink(missing_ok=True)


def _write(path: Path, raw: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())


def make_folder(path: Path, mode: int) -> None:
    """Make a folder and those above it, with ``mode`` for the last one."""
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.chmod(mode)


def take_alone(path: Path) -> str | None:
    """Lock a file for as long as this process lives, however it ends; gives the pid of whoever has it already.

    The pid that stands in the file is for people to read; who has the lock is known by the kernel alone.

    Raises:
        FileNotFoundError: its folder is missing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        return holder or "unknown"
    with suppress(OSError):  # a full disk
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return None


def writable_by_others(path: Path) -> Path | None:
    """Find the first folder from ``path`` upwards that is not root's alone to write; sshd refuses what lies below it."""
    for folder in (path, *path.parents):
        try:
            found = folder.stat()
        except FileNotFoundError:
            continue
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return folder
    return None


def is_open_to_all(program: Path) -> bool:
    """Tell whether any user may run ``program``: its own mode and that of every folder above it."""
    try:
        ways = [program.stat().st_mode, *(folder.stat().st_mode for folder in program.parents)]
    except OSError:
        return False
    return all(mode & stat.S_IXOTH for mode in ways)
