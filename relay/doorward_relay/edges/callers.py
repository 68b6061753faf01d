"""The control port and who is connected to it: bound once, and each caller is met as the pairing that stands when he comes wants it.

No ``asyncio.Server`` accepts here. Closed between its ``accept`` and the connection's own task, it forgets the connection
and leaves it open and silent until memory is looked through (CPython's issue 109564); and it tells nobody who is still
in his TLS handshake. ``sni_callback`` is no way to choose either: another context brings another certificate, but not
another ``verify_mode``.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from weakref import WeakSet

HANDSHAKE_S: Final = 60.0
"""Who opens a connection and says nothing is cut then; asyncio's own limit."""
MOST_ARRIVING: Final = 128
"""Who is in his TLS handshake; one more, and whoever came first of them is cut. So silent strangers keep no more than that
many of the relay's descriptors, and a console, whose handshake takes milliseconds, gets through between them."""
_BACKLOG: Final = 128
_REST_S: Final = 1.0

Serve = Callable[[], asyncio.Protocol]


class Callers:
    """All who came under one pairing, each from the moment that he is accepted until his descriptor is closed.

    A descriptor belongs to one socket object, and whatever serves it holds that object. So what is cut here is everybody,
    in his handshake or after it, and the kernel lets nothing more through, whatever asyncio is about to do.
    """

    def __init__(self, context: ssl.SSLContext, serve: Serve, *, handshake_s: float = HANDSHAKE_S) -> None:
        """Nobody has come yet."""
        self._context, self._serve, self._handshake_s = context, serve, handshake_s
        self._sockets = WeakSet[socket.socket]()
        self._arriving: dict[socket.socket, asyncio.Task[None]] = {}

    def take(self, caller: socket.socket) -> None:
        """Meet a caller with TLS, and serve him once he is through."""
        if len(self._arriving) >= MOST_ARRIVING:
            _shut(next(iter(self._arriving)))
        self._sockets.add(caller)
        self._arriving[caller] = asyncio.create_task(self._meet(caller))

    def cut(self, *, but: int | None = None) -> None:
        """Cut everybody but the one with this descriptor; what is sent to him already arrives."""
        for one in tuple(self._sockets):
            if one.fileno() != but:
                _shut(one)

    def cut_arriving(self) -> None:
        """Cut who is still in his TLS handshake."""
        for one in tuple(self._arriving):
            _shut(one)

    async def _meet(self, caller: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):  # no handshake: asyncio has closed it
                await loop.connect_accepted_socket(
                    self._serve, caller, ssl=self._context, ssl_handshake_timeout=self._handshake_s
                )
        finally:
            del self._arriving[caller]


class Port:
    """A port that is bound once; ``take`` is handed each caller in the moment that he is accepted."""

    def __init__(self, take: Callable[[socket.socket], None]) -> None:
        """Nothing is bound before ``listen``."""
        self._take = take
        self._sockets: list[socket.socket] = []

    async def listen(self, host: str | None, port: int) -> None:
        """Listen on one address, or on all of both families; raises OSError."""
        self._sockets = await _bound(host, port)
        for one in self._sockets:
            one.listen(_BACKLOG)
            self._watch(one)

    def close(self) -> None:
        """Listen no more."""
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        self._sockets = []

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take one caller: the loop comes back for the next one when everybody else had his turn."""
        try:
            caller, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left, and he goes on asking for one
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(_REST_S, self._watch, listening)
            return
        self._take(caller)


async def _bound(host: str | None, port: int) -> list[socket.socket]:
    """Let asyncio find the addresses and bind them, and keep the sockets without its server."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    kept = [one.dup() for one in server.sockets]
    server.close()
    return kept


def _shut(one: socket.socket) -> None:
    with suppress(OSError):  # closed, or the other end is gone
        one.shutdown(socket.SHUT_RDWR)
