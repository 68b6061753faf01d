"""Room on the disk that is kept back for shutting: taken while there is some, given back when an OFF finds none. Decides nothing.

A file beside the SQLite database, as long as what it keeps; its first word says whether that was taken in good times or was
given back once. What room PostgreSQL has, only its own machine knows: there nothing is kept.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from django.db import connection

MOST: Final = 4 * 2**20
"""Bytes. An OFF takes some 30 KiB until the door is shut and its records are written."""
LACKING: Final = 2**20
"""Bytes. With less, what the database could not do is taken for a lack of room: its log and its index grow by more than a row."""
_TAKEN: Final = b"taken\n"
_GIVEN_BACK: Final = b"given\n"
_CHUNK: Final = bytes(65_536)
_MODE: Final = 0o660
_LOG: Final = logging.getLogger("doorward.console")


def kept() -> int:
    """Say how many bytes are kept back now."""
    path = _path()
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0


def take() -> None:
    """Take what is missing.

    The first time no more than half of what is free: a disk that is nearly full is not filled by us. What was given back once
    is taken back whole: whoever filled the disk would have the other half, and each OFF less than the last one.
    """
    path = _path()
    if path is None or kept() >= MOST:
        return
    with suppress(OSError), _opened(path, os.O_CREAT) as descriptor:
        was_given = os.pread(descriptor, len(_TAKEN), 0) == _GIVEN_BACK
        _fill(descriptor, MOST if was_given else min(MOST, (_free(path) + kept()) // 2))
        if kept() >= MOST:
            os.pwrite(descriptor, _TAKEN, 0)


def give_back() -> bool:
    """Give the room back where there is too little to shut with; tells whether there is more now."""
    path = _path()
    if path is None or kept() <= len(_TAKEN) or _free(path) >= LACKING:
        return False
    try:
        with _opened(path) as descriptor:
            os.pwrite(descriptor, _GIVEN_BACK, 0)
            os.truncate(descriptor, len(_GIVEN_BACK))
    except OSError as error:
        _LOG.warning("reserve.not-given-back why=%s", error.strerror)
        return False
    _LOG.warning("reserve.given-back so that a door can be shut; make room: the disk is full")
    return True


def _path() -> Path | None:
    return Path(f"{connection.settings_dict['NAME']}.reserve") if connection.vendor == "sqlite" else None


def _free(path: Path) -> int:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    """Open the file, which all processes of the console may write; it says nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, _MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fill(descriptor: int, size: int) -> None:
    """Write, for a hole in a file keeps nothing; raises OSError when there is no more room."""
    at = os.fstat(descriptor).st_size
    if at == 0:
        os.fchmod(descriptor, _MODE)  # whatever the umask is: web gives back what the worker took
        at = os.pwrite(descriptor, _TAKEN, 0)
    while at < size:
        at += os.pwrite(descriptor, _CHUNK[: size - at], at)
