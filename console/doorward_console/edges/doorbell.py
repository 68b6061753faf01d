"""The doorbell: one console process wakes another; polling is only the fallback.

On PostgreSQL a ring is a NOTIFY in the asker's own transaction, so it sounds when that transaction commits. On SQLite it
is an empty datagram to a unix socket in ``run_dir``, sent after the commit. A ring carries nothing: whoever hears it looks
into the database. Nobody listening is no error. Rings that come together are heard as one.
"""

import asyncio
import logging
import os
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from django.conf import settings
from django.db import connection, transaction

from doorward_console.edges.short_names import short_name

if TYPE_CHECKING:  # loads PostgreSQL's client
    from doorward_console.edges.notifications import Notifications

Whom = Literal["signer", "worker", "web"]
_LOG: Final = logging.getLogger("doorward.doorbell")

_AGAIN_S: Final = 2.0
"""Between attempts to listen to a database that went away."""
_MODE: Final = 0o660
"""The console's three users share a group; nobody else may ring."""


def ring(*whom: Whom) -> None:
    """Wake the processes named once the running transaction commits; at once where there is none."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for one in whom:
                cursor.execute("SELECT pg_notify(%s, '')", [_channel(one)])
        return
    for one in whom:
        transaction.on_commit(lambda one=one: _send(one))  # type: ignore[misc]  # the default binds the loop's value


def _channel(whom: Whom) -> str:
    return f"doorward_{whom}"


def _send(whom: Whom) -> None:
    """Put a datagram into each listener's socket; a full one has been rung already.

    What is committed is done: whoever has no descriptor left to ring with goes on, and the others look all the same.
    """
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        for path in _sockets(whom):
            with suppress(OSError), short_name(path) as name:
                sender.sendto(b"", name)


def is_listening(whom: Whom) -> bool | None:
    """Tell whether anyone hears rings to ``whom``; None where the database does not let this user see it."""
    if connection.vendor == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = %s"
        with connection.cursor() as cursor:
            cursor.execute(query, [f"LISTEN {_channel(whom)}"])
            return True if cursor.fetchone()[0] else None
    return any(_is_heard(path) for path in _sockets(whom))


def _is_heard(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            with short_name(path) as name:
                sender.connect(name)
        except OSError:
            return False
        return True


def _sockets(whom: Whom) -> list[Path]:
    folder: Path = settings.CONFIG.run_dir
    return sorted(folder.glob("web-*")) if whom == "web" else [folder / whom]


class Bell:
    """What one process hears; open it before the first look into the database, so that no ring is missed."""

    def __init__(self, whom: Whom) -> None:
        """Listen for rings to ``whom``; a web process has a socket of its own, the others one for their kind."""
        self._ear = _ear(whom)
        self._is_over = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def stop(self) -> None:
        """End every wait, now and from now on; may be called by a signal's handler or another thread."""
        os.eventfd_write(self._is_over, 1)

    def wait(self, timeout_s: float) -> bool:
        """Wait until somebody has rung since the last wait, or ``timeout_s``, or ``stop``; tell whether somebody rang.

        A database that is away carries no rings: then it is waited, and looked.
        """
        try:
            readable, _, _ = select.select([self._ear, self._is_over], [], [], timeout_s)
            return self._ear in readable and self.heard()
        except ConnectionError as error:
            _LOG.warning("the doorbell cannot be heard error=%s", error)
            select.select([self._is_over], [], [], timeout_s)
            return True

    def heard(self) -> bool:
        """Take in what has been rung, without waiting; tell whether anything was."""
        return self._ear.heard()

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when somebody rings."""
        return self._ear.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._ear.close()
        os.close(self._is_over)


def _ear(whom: Whom) -> "_Datagrams | Notifications":
    if connection.vendor != "postgresql":
        return _Datagrams(whom)
    from doorward_console.edges.notifications import Notifications

    return Notifications(_channel(whom))


class _Datagrams:
    """A unix datagram socket in ``run_dir``."""

    def __init__(self, whom: Whom) -> None:
        folder: Path = settings.CONFIG.run_dir
        if whom == "web":
            _forget_dead(folder)
        self._path = folder / (f"web-{os.getpid()}" if whom == "web" else whom)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with short_name(self._path) as name:
            self._socket.bind(name)
        self._path.chmod(_MODE)

    def fileno(self) -> int:
        return self._socket.fileno()

    def heard(self) -> bool:
        rung = False
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1)
                rung = True
        return rung

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def _forget_dead(folder: Path) -> None:
    """Remove sockets of web processes that are gone."""
    for path in folder.glob("web-*"):
        if not Path("/proc", path.name.removeprefix("web-")).exists():
            path.unlink(missing_ok=True)


class Chime:
    """One bell for all event streams of a web process: each of them hears every ring.

    A stream notes ``count``, looks into the database, and waits for a higher one; so a ring between the look and the
    wait is not missed.
    """

    def __init__(self) -> None:
        """Listen on the running event loop."""
        self.count = 0
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._bell = Bell("web")
        self._watch()

    def _on_readable(self) -> None:
        try:
            rung = self._bell.heard()
        except ConnectionError:  # the database is away: listen again later; streams poll meanwhile
            self._loop.remove_reader(self._descriptor)
            self._loop.call_later(_AGAIN_S, self._listen_again)
            return
        if rung:
            self._wake()
        if self._bell.fileno() != self._descriptor:  # the bell was made again
            self._loop.remove_reader(self._descriptor)
            self._watch()

    def _watch(self) -> None:
        self._descriptor = self._bell.fileno()
        self._loop.add_reader(self._descriptor, self._on_readable)

    def _listen_again(self) -> None:
        if self._is_closed:
            return
        try:
            self._bell = Bell("web")
        except ConnectionError:
            self._loop.call_later(_AGAIN_S, self._listen_again)
            return
        self._watch()
        self._wake()

    def _wake(self) -> None:
        self.count += 1
        self._news.set()  # wakes all who wait now
        self._news = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> int:
        """Wait for a count above ``seen``, at most ``timeout_s``; give the count."""
        if self.count <= seen:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_s)
        return self.count

    def close(self) -> None:
        """Stop listening."""
        self._is_closed = True
        self._loop.remove_reader(self._descriptor)
        self._bell.close()
