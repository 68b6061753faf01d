"""Files: written whole and renamed, with their mode set at creation; small documents; the one-instance lock."""

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from doorward_agent.errors import AlreadyRunning

_log = logging.getLogger(__name__)

LOCK_TRIES: Final = 5
LOCK_PAUSE_S: Final = 0.05


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace a file so that a reader, or a power loss, finds the old content or the new one; raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DocumentStore:
    """``contracts.Store`` on two folders: durable documents in the state folder, the others in the runtime folder."""

    def __init__(self, state_dir: Path, runtime_dir: Path) -> None:
        self._folders = {True: state_dir, False: runtime_dir}

    def load(self, name: str) -> Mapping[str, Any] | None:
        """Read a document; one that is missing or unreadable is None."""
        for folder in self._folders.values():
            path = folder / f"{name}.json"
            try:
                found = json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                _log.error("document unreadable path=%s error=%s", path, error)
                continue
            return found if isinstance(found, dict) else None
        return None

    def save(self, name: str, document: Mapping[str, Any], *, durable: bool) -> None:
        """Write a document whole; raises OSError where a durable one cannot be kept."""
        content = json.dumps(document, separators=(",", ":")).encode()
        write_whole(self._folders[durable] / f"{name}.json", content, durable=durable)


def lock_instance(folder: Path) -> int:
    """Take the one-instance lock, write our process id into it, and give its descriptor, which holds it as long as we live.

    Raises:
        AlreadyRunning: another process holds it, and not only for the moment in which ``is_locked`` looks.
    """
    path = folder / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_TRIES):
        if _takes_lock(descriptor, fcntl.LOCK_EX):
            _sign(descriptor)
            return descriptor
        time.sleep(LOCK_PAUSE_S)
    holder = os.read(descriptor, 20).decode(errors="replace").strip()
    os.close(descriptor)
    raise AlreadyRunning(str(path), holder)


def _sign(descriptor: int) -> None:
    """Leave our pid, for people and for ``holder_of``: whether we run is told by the lock, which goes with us."""
    with contextlib.suppress(OSError):  # a full disk
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())


def is_locked(folder: Path) -> bool:
    """Tell whether an agent holds the lock of this state folder; makes no file."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _takes_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holder_of(folder: Path) -> int | None:
    """Give the process id of the agent that holds the lock; None where none does, or one that wrote none (a version before)."""
    if not is_locked(folder):
        return None
    written = (folder / "lock").read_text(encoding="ascii", errors="replace").strip()
    return int(written) if written.isdigit() and int(written) > 1 else None


def _takes_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
