"""Doors at one instant: who listens, which device holds it, who is connected; and how to read that from the kernel's tables.

The embedded relay knows by itself; beside OpenSSH it is pure reading of values that ``edges.kernel`` took from /proc. The
one thing decided here is what counts as ours: a process is a device's connection when it runs as the tunnel user *and* holds an established connection to our sshd's
own port. That needs no parentage, so it stays true for connections that outlived their sshd, and it holds apart two
relays on one machine. Called by ``watch`` and ``runtime``.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ESTABLISHED: Final = 0x01
CLOSE_WAIT: Final = 0x08
LISTEN: Final = 0x0A
"""States of /proc/net/tcp (include/net/tcp_states.h)."""
_STATES: Final = frozenset({"01", "08", "0A"})
_CONNECTED: Final = frozenset({ESTABLISHED, CLOSE_WAIT})
"""A process whose peer has closed holds its listeners until it has noticed, and is still who it was."""
_MAPPED: Final = b"\x00" * 10 + b"\xff\xff"
"""An IPv4 address inside IPv6 begins so (RFC 4291, section 2.5.5.2)."""

TunnelKey = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Socket:
    """One row of the kernel's table of TCP sockets."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    state: int
    uid: int
    inode: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the tunnel user.

    Attributes:
        started: clock ticks since boot; with the pid it names one process for ever within a boot.
        inodes: the sockets that it holds.
    """

    pid: int
    parent: int
    started: int
    inodes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Count:
    """Bytes that we sent over a connection and the peer acknowledged, and bytes that came from it.

    Attributes:
        lasted_ms: how long it has been there, where that is known better than by looking now and then.
    """

    sent: int
    received: int
    lasted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the kernel knows about the other end of a connection.

    Attributes:
        retransmits: how often in a row the oldest bytes under way were sent again; 0 once anything is acknowledged.
        acknowledged_ms: how long ago an acknowledgement last came.
        heard_ms: how long ago bytes last came.
    """

    retransmits: int
    acknowledged_ms: int
    heard_ms: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket on a port that devices may hold.

    Attributes:
        is_devices: a device's connection holds it; another program's otherwise.
        number: names the socket while it is there: its inode, or the embedded relay's own count.
    """

    address: str
    port: int
    is_devices: bool
    number: int

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An authenticated connection of a device.

    Attributes:
        key: names it for ever within a boot: pid and start of its sshd, or the embedded relay's own count.
        number: of the connection's socket, as a listener's.
        listeners: what it holds open; empty when it asked for nothing (yet).
    """

    key: TunnelKey
    peer: str
    peer_port: int
    number: int
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody's connection to a port that a device holds."""

    port: int
    address: str
    from_port: int
    number: int


@dataclass(frozen=True, slots=True)
class View:
    """All of it at one instant.

    Attributes:
        listeners: all that devices hold, and nothing of another relay's.
        counts: bytes so far by a connection's number; empty where the kernel does not tell. Of what is gone, too, at the
            first look afterwards, where that is known.
        pulses: of connections by number, of all or of those alone whose other end was silent for long or is sent the same again;
            empty where the kernel does not tell.
    """

    tunnels: tuple[Tunnel, ...]
    listeners: tuple[Listener, ...]
    visitors: tuple[Visitor, ...]
    counts: Mapping[int, Count] = field(default_factory=dict)
    pulses: Mapping[int, Pulse] = field(default_factory=dict)

    def holders_of(self, ports: Iterable[int]) -> tuple[Tunnel, ...]:
        """Give the tunnels that hold any of ``ports``."""
        wanted = frozenset(ports)
        return tuple(one for one in self.tunnels if any(each.port in wanted for each in one.listeners))


def sockets_from_table(text: str) -> tuple[Socket, ...]:
    """Read /proc/net/tcp or /proc/net/tcp6 (proc(5)): one heading, then one socket a line; keeps the states above."""
    rows = (line.split() for line in text.splitlines()[1:])
    return tuple(_socket(columns) for columns in rows if columns and columns[3] in _STATES)


def listening_on(
    sockets: Sequence[Socket], ports: Iterable[int], tunnel_uid: int | None = None
) -> tuple[Listener, ...]:
    """Give whatever listens on any of ``ports``, whoever it is."""
    wanted = frozenset(ports)
    return tuple(_listener(one, tunnel_uid) for one in sockets if one.state == LISTEN and one.local_port in wanted)


def visitors_on(sockets: Sequence[Socket], ports: Iterable[int]) -> tuple[Visitor, ...]:
    """Give whoever is connected to any of ``ports``."""
    wanted = frozenset(ports)
    return tuple(
        Visitor(one.local_port, one.remote, one.remote_port, one.inode)
        for one in sockets
        if one.state == ESTABLISHED and one.local_port in wanted
    )


def view_from(sockets: Sequence[Socket], processes: Sequence[Process], *, ssh_port: int, tunnel_uid: int) -> View:
    """Put sockets and the tunnel user's processes together."""
    listeners = tuple(_listener(one, tunnel_uid) for one in sockets if one.state == LISTEN and one.uid == tunnel_uid)
    connected = {one.inode: one for one in sockets if one.state in _CONNECTED}
    arrived = {inode: one for inode, one in connected.items() if one.local_port == ssh_port}
    found = (_tunnel(process, arrived, listeners) for process in processes)
    tunnels = tuple(one for one in found if one is not None)
    elsewhere = _of_another_relay(processes, connected, {one.key[0] for one in tunnels}, listeners)
    ours = tuple(one for one in listeners if one.number not in elsewhere)
    return View(tunnels, ours, visitors_on(sockets, (one.port for one in ours)))


def _of_another_relay(
    processes: Sequence[Process], connected: dict[int, Socket], own: set[int], listeners: Sequence[Listener]
) -> frozenset[int]:
    """Give the sockets of processes that came through another sshd than ours, which shares the tunnel user."""
    doors = {one.port for one in listeners}
    strangers = (
        process
        for process in processes
        if process.pid not in own
        and any(inode in connected and connected[inode].local_port not in doors for inode in process.inodes)
    )
    return frozenset(inode for process in strangers for inode in process.inodes)


def _tunnel(process: Process, arrived: dict[int, Socket], listeners: Sequence[Listener]) -> Tunnel | None:
    connection = next((arrived[inode] for inode in process.inodes if inode in arrived), None)
    if connection is None:
        return None
    held = tuple(one for one in listeners if one.number in process.inodes)
    key = (process.pid, process.started)
    return Tunnel(key, connection.remote, connection.remote_port, connection.inode, held)


def _listener(one: Socket, tunnel_uid: int | None) -> Listener:
    return Listener(one.local, one.local_port, one.uid == tunnel_uid, one.inode)


def _socket(columns: list[str]) -> Socket:
    local, local_port = _end(columns[1])
    remote, remote_port = _end(columns[2])
    return Socket(local, local_port, remote, remote_port, int(columns[3], 16), int(columns[7]), int(columns[9]))


def _end(text: str) -> tuple[str, int]:
    """Read ``ADDRESS:PORT`` in hex; addresses are 32-bit words in the machine's own byte order."""
    address, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    return address_from(raw), int(port, 16)


def address_from(raw: bytes) -> str:
    """Write an address of 4 or 16 bytes; an IPv4 address inside IPv6 as itself."""
    raw = raw.removeprefix(_MAPPED)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
