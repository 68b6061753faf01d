"""Somebody's connection to a device's port, and the channel through which it reaches the device: bytes go over, counted.

Each side is read only as fast as the other one takes it, so a device or a visitor that stops reading costs a window and a
buffer, not the relay's memory. Nothing is read before the device has accepted the channel.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import asyncssh

from doorward_relay.view import Count, Visitor

OPEN_S: Final = 20.0
"""For so long a device may leave a visitor waiting for its answer."""
FLUSH_S: Final = 10.0
"""For so long a visitor may take to read what came before the end."""
WINDOW: Final = 2 * 1024 * 1024
"""Of bytes that a device may have under way to one visitor: quick over distances, and the most that one can cost."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A visitor that went away without a word is let go after two minutes."""


class Way(Protocol):
    """What a visit needs of the device's connection."""

    number: int
    asked_host: str
    port: int

    def came(self, visit: "Visit") -> bool:
        """Take note of a visit; False: there are too many."""

    def left(self, visit: "Visit") -> None:
        """Take note that it is over."""

    async def opened(self, session: Callable[[], Any], visitor: Visitor) -> bool:
        """Open a channel to the device, which is given to the session; False where it was refused or is gone."""


class Visit(asyncio.Protocol):
    """The visitor's side."""

    def __init__(self, way: Way, number: int) -> None:
        """Nobody is connected yet."""
        self._way, self._number = way, number
        self._began = time.monotonic()
        self._sent = self._received = 0
        self._held_by = {"opening"}
        self._said_all: set[str] = set()
        self._transport: asyncio.Transport | None = None
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._flushing: asyncio.TimerHandle | None = None
        self.visitor = Visitor(0, "", 0, number)

    @property
    def count(self) -> Count:
        """What was delivered and taken so far."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return Count(self._sent - waiting, self._received, round((time.monotonic() - self._began) * 1000))

    def hold(self, why: str) -> None:
        """Read no more from the visitor until every reason is gone."""
        self._held_by.add(why)
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self, why: str) -> None:
        """Take a reason away."""
        self._held_by.discard(why)
        if self._transport is not None and not self._held_by:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Cut at once, whatever is still under way."""
        if self._transport is not None:
            self._transport.abort()

    # From the visitor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold the visitor until the device has opened a channel."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a visitor is a TCP connection")
        self._transport = transport
        _keep_alive(transport)
        address, port = transport.get_extra_info("peername")[:2]
        self.visitor = Visitor(self._way.port, str(address), int(port), self._number)
        self.hold("opening")
        asyncio.get_running_loop().call_soon(self._hold_anew)
        if self._way.came(self):
            self._opening = asyncio.get_running_loop().create_task(self._open(), name=f"visit {self._number}")
        else:
            transport.abort()

    def _hold_anew(self) -> None:
        """Pause once more: Pythons before 3.11.4 begin to read after ``connection_made`` whatever it paused."""
        if self._transport is not None and self._held_by:
            self._transport.resume_reading()
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass on what the visitor says."""
        self._received += len(data)
        if self._channel is not None:
            self._channel.write(data)

    def eof_received(self) -> bool:
        """Pass on that the visitor says no more; what the device says still goes over."""
        if self._channel is not None:
            self._channel.write_eof()
        self._has_said_all("visitor")
        return True

    def pause_writing(self) -> None:
        """Read no more from the device than the visitor takes."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume_writing(self) -> None:
        """Read from the device again."""
        if self._channel is not None:
            self._channel.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """Let the device know, and the table."""
        if self._opening is not None and not self._opening.done():  # an error in it would be hushed up
            self._opening.cancel()
        if self._channel is not None:
            self._channel.abort()
        if self._flushing is not None:
            self._flushing.cancel()  # it would keep all of this for its ten seconds: probes alone come by the hundred
        self._way.left(self)
        self._transport = self._channel = None

    # From the device

    def opened(self, channel: asyncssh.SSHTCPChannel[bytes]) -> None:
        """Take the channel in the moment in which it is there, or close it: the visitor may be gone."""
        if self._transport is None:
            channel.abort()
        else:
            self._channel = channel

    def said(self, data: bytes) -> None:
        """Pass on what the device says."""
        self._sent += len(data)
        if self._transport is not None:
            self._transport.write(data)

    def said_all(self) -> None:
        """Pass on that the device says no more."""
        if self._transport is not None:
            with suppress(OSError):  # the visitor may be gone without our loop knowing it yet
                self._transport.write_eof()
        self._has_said_all("device")

    def closed(self) -> None:
        """End with the channel: flush what is left, within a limit."""
        if self._transport is not None:
            self._transport.close()
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_S, self._transport.abort)

    def _has_said_all(self, side: str) -> None:
        """End when both have: a device may answer an end with its own and never close, and each visit would stay."""
        self._said_all.add(side)
        if len(self._said_all) > 1 and self._channel is not None:
            self._channel.close()
            self.closed()

    async def _open(self) -> None:
        """Wait for the device's answer, within a limit.

        The opening itself goes on without us: the device was asked, and only what it opens then can be closed again. asyncssh
        keeps a channel that nobody waits for until the tunnel ends, with all that came through it.
        """
        opening = asyncio.get_running_loop().create_task(self._way.opened(lambda: _Channel(self), self.visitor))
        is_open = False
        try:
            done, _ = await asyncio.wait({opening}, timeout=OPEN_S)
            is_open = bool(done) and opening.result()
        finally:
            if is_open:
                self.release("opening")
            else:
                self.abort()


class _Channel(asyncssh.SSHTCPSession[bytes]):
    """The device's side."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._visit.opened(chan)

    def data_received(self, data: bytes, _: int | None) -> None:
        self._visit.said(data)

    def eof_received(self) -> bool:
        self._visit.said_all()
        return True

    def pause_writing(self) -> None:
        self._visit.hold("channel")

    def resume_writing(self) -> None:
        self._visit.release("channel")

    def connection_lost(self, _: Exception | None) -> None:
        self._visit.closed()


def _keep_alive(transport: asyncio.Transport) -> None:
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connected.setsockopt(socket.IPPROTO_TCP, option, value)
