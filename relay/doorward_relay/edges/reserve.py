"""The reserve: room that is taken while there is some, so that ends are durable on a full disk too. Decides nothing.

A file of fixed size whose slots are overwritten in place, for which a file system needs no new space (one that copies on
write may: then an end lasts as long as the daemon). Used by ``keeping`` while the store does not work.
"""

import logging
import os
from pathlib import Path
from typing import Final

from doorward_protocol.ids import SessionId, is_id

_SLOT: Final = 19
"""A session id and a line's end."""
_SLOTS: Final = 3_400
"""All of it stays below 64 KiB; more sessions than these do not end before somebody frees space."""
_FREE: Final = b" " * (_SLOT - 1) + b"\n"
_LOG: Final = logging.getLogger("doorward.relay")


class Reserve:
    """Sessions that ended and are not in the store yet."""

    def __init__(self, path: Path) -> None:
        """Take the room, if there is any and it was not taken before."""
        self._path = path
        text = _text_of(path)
        self._sessions = [SessionId(word) for word in text.split() if is_id("s", word)][:_SLOTS]
        if len(text) != _SLOT * _SLOTS:
            taken = b"".join(_slot(one) for one in self._sessions)
            self._write(taken + _FREE * (_SLOTS - len(self._sessions)), 0)

    @property
    def sessions(self) -> tuple[SessionId, ...]:
        return tuple(self._sessions)

    def note(self, session: SessionId) -> None:
        """Write down, durably where that can be, that a session ended."""
        if session not in self._sessions and len(self._sessions) < _SLOTS:
            self._write(_slot(session), len(self._sessions) * _SLOT)
            self._sessions.append(session)

    def clear(self) -> None:
        """Free the slots: the store has it all."""
        if self._sessions:
            self._write(_FREE * len(self._sessions), 0)
            self._sessions = []

    def _write(self, raw: bytes, at: int) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, raw, at)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            _LOG.warning("reserve.not-written why=%s", error.strerror)


def _slot(session: SessionId) -> bytes:
    return session.encode().ljust(_SLOT - 1) + b"\n"


def _text_of(path: Path) -> str:
    try:
        return path.read_text("latin-1")  # one character a byte, whatever a broken disk gives
    except OSError:
        return ""
