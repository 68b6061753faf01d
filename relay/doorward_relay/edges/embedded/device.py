"""One device's connection to the embedded relay: what asyncssh asks about it, and what it may do, which is little.

Everything that is not answered here is refused by asyncssh's own defaults: no way through the relay (direct-tcpip), no unix
socket, no tun device, no password. The hello is the one thing that a session gives, whatever was asked to run.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import asyncssh
from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId

from doorward_relay.edges.embedded import ports
from doorward_relay.edges.embedded.admitted import SESSION, Admitted
from doorward_relay.edges.embedded.hello import Hello
from doorward_relay.edges.embedded.visiting import WINDOW, Visit
from doorward_relay.edges.sock_diag import Info, info_of, is_doubtful
from doorward_relay.permits import bind_for
from doorward_relay.reaper import DOUBT_MS, keepalive_s
from doorward_relay.view import Count, Listener, Pulse, Tunnel, Visitor

MOST_SESSIONS: Final = 4
"""Channels for hello at a time, as OpenSSH's MaxSessions in the managed relay."""
MOST_VISITORS: Final = 128
"""Connections to one device's ports: far more than people need, and no one port can use up our descriptors."""
UNACKNOWLEDGED_MS: Final = 30_000
"""A device that acknowledges nothing for so long while something is under way is gone (tcp(7), TCP_USER_TIMEOUT)."""


class Table(Protocol):
    """What a device's connection needs of the server."""

    admitted: Admitted
    tunnel_user: str

    def next_number(self) -> int:
        """Give a number that nothing else has."""

    def arrived(self, device: "Device") -> bool:
        """Take note of a connection that has not logged in; False: there are too many."""

    def logged_in(self, device: "Device") -> None:
        """Take note that it logged in."""

    def gone(self, device: "Device") -> None:
        """Take note that it is over."""

    def came(self, visit: Visit) -> None:
        """Take note of a visitor."""

    def visited(self, visit: Visit) -> None:
        """Take note of a visitor that left."""

    def changed(self) -> None:
        """Take note that a listener came or went."""

    async def hello(self, device: "Device") -> str:
        """Give the device its session's port; answers a reason code."""


class Device(asyncssh.SSHServer):
    """What asyncssh asks, answered; and the connection as the tables show it."""

    def __init__(self, table: Table) -> None:
        """Nobody is connected yet."""
        self._table = table
        self.number = table.next_number()
        self.session = SessionId("")
        self.since = time.monotonic()
        self.forwards: list[Forward] = []
        self.visits: dict[int, Visit] = {}
        self._connection: asyncssh.SSHServerConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._peer: tuple[str, int] = ("", 0)
        self._hellos = self._openings = 0
        self._is_slow = self._is_over = False
        self._last = Count(0, 0)
        self._tunnel: Tunnel | None = None

    @property
    def tunnel(self) -> Tunnel:
        """The connection as it is now; the same object as long as nothing about it changes."""
        if self._tunnel is None:
            listeners = tuple(each for one in self.forwards for each in one.listeners)
            self._tunnel = Tunnel((self.number,), *self._peer, self.number, listeners)
        return self._tunnel

    def count(self) -> Count:
        """Ask the kernel for the bytes so far; of a closed socket, give what was read last."""
        info = self._info()
        if info is not None:
            self._last = info.count
        return self._last

    def pulse(self) -> Pulse | None:
        """Ask the kernel whether the other end is there; None where it does not tell."""
        info = self._info()
        return None if info is None else info.pulse

    def is_doubtful(self) -> bool:
        """Tell, as cheaply as can be, whether the other end was silent for long, or is sent the same again."""
        return self._transport is not None and is_doubtful(self._transport.get_extra_info("socket"), DOUBT_MS)

    def _info(self) -> Info | None:
        return None if self._transport is None else info_of(self._transport.get_extra_info("socket"))

    def end(self) -> None:
        """Cut the connection at once, its listeners and its visitors with it."""
        self.count()
        self._is_over = True
        for forward in tuple(self.forwards):
            forward.close()
        for visit in tuple(self.visits.values()):
            visit.abort()
        if self._connection is not None:
            self._connection.abort()

    # About what waits

    def connected(self, transport: asyncio.Transport) -> None:
        """Remember the transport, and let the kernel notice a device that is gone."""
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    def waiting_bytes(self) -> int:
        """Count what was written and not yet sent."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def hold_visitors(self) -> None:
        """Stop reading from visitors: the device does not read."""
        self._is_slow = True
        for visit in self.visits.values():
            visit.hold("device")

    def release_visitors(self) -> None:
        """Go on reading from visitors."""
        self._is_slow = False
        for visit in self.visits.values():
            visit.release("device")

    # Asked by asyncssh

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Take note, or cut where too many have not logged in yet."""
        self._connection = conn
        address, port = conn.get_extra_info("peername")[:2]
        self._peer = (str(address), int(port))
        if not self._table.arrived(self):
            conn.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Take note; whatever it held goes with it."""
        self.end()
        self._connection = None
        self._table.gone(self)

    def begin_auth(self, username: str) -> bool:
        """Ask for a certificate in any case; only the tunnel user's can be right."""
        admitted = self._table.admitted if username == self._table.tunnel_user else asyncssh.SSHAuthorizedKeys()
        if self._connection is not None:
            self._connection.set_authorized_keys(admitted)
        return True

    def auth_completed(self) -> None:
        """Remember for which session; its grant may have ended since the certificate was looked at."""
        if self._connection is not None:
            self.session = SessionId(str(self._connection.get_key_option(SESSION)))
            self._connection.set_keepalive(keepalive_s(self.number))
            self._table.logged_in(self)
        if self._grant() is None:
            self.end()

    def session_requested(self) -> Hello | bool:
        """Give hello, and nothing else."""
        if self._hellos >= MOST_SESSIONS:
            return False
        self._hellos += 1
        return Hello(self._say_hello, self._hello_over)

    async def server_requested(self, listen_host: str, listen_port: int) -> "Forward | bool":
        """Listen where the grant says, or refuse."""
        grant = self._grant()
        bind = None if grant is None else bind_for(grant, listen_host, listen_port)
        if bind is None or self._connection is None:
            return False
        forward = Forward(self, listen_host, listen_port)
        await forward.listen(bind)  # raises OSError where the port is taken; asyncssh refuses then
        if self._is_over or self._grant() is None:
            forward.close()
            return False
        return forward

    # Asked by its parts

    def changed(self) -> None:
        """Pass on that a listener came or went."""
        self._tunnel = None
        self._table.changed()

    def next_number(self) -> int:
        """Give a number that nothing else has."""
        return self._table.next_number()

    def came(self, visit: Visit) -> bool:
        """Take note of a visitor; False: there are too many, or the device is gone."""
        if self._is_over or max(len(self.visits), self._openings) >= MOST_VISITORS:
            return False
        self.visits[visit.visitor.number] = visit
        self._table.came(visit)
        if self._is_slow:
            visit.hold("device")
        return True

    def left(self, visit: Visit) -> None:
        """Take note that a visitor left."""
        if self.visits.pop(visit.visitor.number, None) is not None:
            self._table.visited(visit)

    async def opened(self, forward: "Forward", session: Callable[[], Any], visitor: Visitor) -> bool:
        """Open a channel for a visitor; False where the device refuses, or is gone."""
        if self._connection is None:
            return False
        self._openings += (
            1  # counted apart from visits: a visitor does not wait for ever, and the device may yet answer
        )
        try:
            await self._connection.create_connection(
                session, forward.asked_host, forward.port, visitor.address, visitor.from_port, window=WINDOW
            )
        except (asyncssh.Error, OSError):
            return False
        finally:
            self._openings -= 1
        return True

    def _grant(self) -> Grant | None:
        return self._table.admitted.grant_of(self.session)

    async def _say_hello(self) -> str:
        return await self._table.hello(self)

    def _hello_over(self) -> None:
        self._hellos -= 1


class Forward(asyncssh.SSHListener):
    """A device's port on the relay."""

    def __init__(self, device: Device, asked_host: str, port: int) -> None:
        """Nobody is listened for yet; ``asked_host`` is what the client knows its forward by."""
        super().__init__()
        self._device = device
        self.number, self.asked_host, self.port = device.number, asked_host, port
        self._servers: list[asyncio.Server] = []
        self.listeners: tuple[Listener, ...] = ()

    async def listen(self, bind: str) -> None:
        """Listen on ``*`` or ``localhost``; raises OSError."""
        loop = asyncio.get_running_loop()
        for one in ports.bound(bind, self.port):
            one.listen(ports.BACKLOG)
            address, number = str(one.getsockname()[0]), self._device.next_number()
            self.listeners = (*self.listeners, Listener(address, self.port, is_devices=True, number=number))
            self._servers.append(await loop.create_server(self._visit, sock=one))
        self._device.forwards.append(self)
        self._device.changed()

    def close(self) -> None:
        """Stop listening, at once."""
        for server in self._servers:
            server.close()
        self._servers = []
        if self in self._device.forwards:
            self._device.forwards.remove(self)
            self._device.changed()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def get_port(self) -> int:
        """Give the port; it is never one of our choice."""
        return self.port

    def came(self, visit: Visit) -> bool:
        """Take note of a visitor."""
        return self._device.came(visit)

    def left(self, visit: Visit) -> None:
        """Take note that a visitor left."""
        self._device.left(visit)

    async def opened(self, session: Callable[[], Any], visitor: Visitor) -> bool:
        """Open a channel to the device; False where it refuses, or is gone."""
        return await self._device.opened(self, session, visitor)

    def _visit(self) -> Visit:
        return Visit(self, self._device.next_number())
