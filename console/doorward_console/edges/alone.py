"""One web, one worker, one signer on a ``run_dir``: a second would take the first one's doorbell, or its name at the broker.

Who has the lock is known by the kernel, which takes it back however its holder ends; the pid in the file is for people to read.
Replicas on one host (PostgreSQL) have a ``run_dir`` each.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from doorward_console.config import ConfigError


class AlreadyRunning(Exception):
    """Another process does this work here (exit 75)."""

    def __init__(self, what: str, lock: Path, holder: str) -> None:
        super().__init__(
            f"Another {what} of this console runs here, process {holder or 'unknown'}: it holds {lock}. "
            f"Leave it at work, or end it first: systemctl stop doorward-console@{what}, or the doorward-console serve that "
            "started it"
        )


def be_alone(what: str, run_dir: Path) -> None:
    """Lock ``what`` on this host for as long as this process lives.

    Raises:
        AlreadyRunning: another process has it.
        ConfigError: there can be no lock in ``run_dir``.
    """
    path = run_dir / f"{what}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(run_dir, [f"{path.name} cannot be opened there ({error.strerror})"]) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(what, path, os.read(descriptor, 20).decode(errors="replace").strip()) from None
    with suppress(OSError):  # a full disk
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
