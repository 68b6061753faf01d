"""The kernel's quick answers about TCP sockets over netlink (sock_diag(7)): which there are, bytes counted, whether the other end is there.

/proc/net/tcp walks the whole hash table of connections, 10 ms where that is large, in both families; asking here costs a
thirtieth, and for those alone that listen microseconds. Where the kernel does not tell, there is no answer rather than a guess.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from doorward_relay.view import CLOSE_WAIT, ESTABLISHED, LISTEN, Count, Pulse, Socket, address_from

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_INET_DIAG_INFO: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")
_PORTS: Final = struct.Struct(">HH")
_PORTS_AT, _LOCAL_AT, _REMOTE_AT = 4, 8, 24
_ADDRESS_BYTES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}
_UID_AT: Final = 64
_INODE_AT: Final = 68
_ATTRIBUTES_AT: Final = 72
"""struct inet_diag_msg (linux/inet_diag.h): 72 bytes: family, state, at 4 the ports and both addresses, at the end uid and inode."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_RETRANSMITS_AT: Final = 2
_LAST_HEARD: Final = struct.Struct("=II")
_LAST_HEARD_AT: Final = 52
"""struct tcp_info: tcpi_retransmits; tcpi_last_data_recv and tcpi_last_ack_recv, in ms."""
_BYTES: Final = struct.Struct("=QQ")
_BYTES_AT: Final = 120
"""struct tcp_info (linux/tcp.h): tcpi_bytes_acked, tcpi_bytes_received, since Linux 4.1."""
_LIMIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Info:
    """What the kernel tells about one connection."""

    count: Count
    pulse: Pulse


def sockets() -> tuple[Socket, ...] | None:
    """Give the sockets that listen or are connected, or None where the kernel does not tell."""
    messages = _dump((LISTEN, ESTABLISHED, CLOSE_WAIT), 0)
    return None if messages is None else tuple(map(_socket, messages))


def established() -> dict[int, Info]:
    """Tell about established connections by the inode of their socket; empty where the kernel does not."""
    infos = ((_inode(message), _info(message)) for message in _dump((ESTABLISHED,), 1 << (_INET_DIAG_INFO - 1)) or ())
    return {inode: info for inode, info in infos if info is not None}


def info_of(connected: socket.socket) -> Info | None:
    """Tell about a connection of our own, or None where the kernel does not."""
    try:
        return _info_from(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
    except OSError:
        return None


def is_doubtful(connected: socket.socket, silent_ms: int) -> bool:
    """Tell whether a connection of our own sends the same bytes again, or heard none for so long: a tenth of ``info_of``'s work."""
    try:
        raw = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_HEARD_AT + _LAST_HEARD.size)
    except OSError:
        return False
    if len(raw) < _LAST_HEARD_AT + _LAST_HEARD.size:
        return False
    return bool(raw[_RETRANSMITS_AT]) or _LAST_HEARD.unpack_from(raw, _LAST_HEARD_AT)[0] >= silent_ms


def listening_of(uid: int) -> frozenset[int] | None:
    """Give the inodes of a user's listening sockets, or None where the kernel does not tell."""
    messages = _dump((LISTEN,), 0)
    if messages is None:
        return None
    return frozenset(_inode(one) for one in messages if struct.unpack_from("=I", one, _UID_AT)[0] == uid)


def _dump(states: Iterable[int], extensions: int) -> list[bytes] | None:
    """Give one message for each socket in one of ``states``, of both address families."""
    found, wanted = list[bytes](), sum(1 << state for state in states)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(_LIMIT_S)
            for family in (socket.AF_INET, socket.AF_INET6):
                body = _REQUEST.pack(family, socket.IPPROTO_TCP, extensions, wanted)
                size = _HEADER.size + len(body)
                header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
                kernel.sendto(header + body, (0, 0))
                found += _answers(kernel)
    except OSError:
        return None
    return found


def _answers(kernel: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, message in _messages(kernel.recv(262_144)):
            if kind == _NLMSG_ERROR:
                raise OSError("the kernel does not tell")
            if kind == _NLMSG_DONE:
                return
            yield message


def _socket(message: bytes) -> Socket:
    family, state = message[0], message[1]
    size = _ADDRESS_BYTES[socket.AddressFamily(family)]
    local_port, remote_port = _PORTS.unpack_from(message, _PORTS_AT)
    local, remote = (address_from(message[at : at + size]) for at in (_LOCAL_AT, _REMOTE_AT))
    uid, inode = struct.unpack_from("=II", message, _UID_AT)
    return Socket(local, local_port, remote, remote_port, state, uid, inode)


def _inode(message: bytes) -> int:
    return int(struct.unpack_from("=I", message, _INODE_AT)[0])


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(raw)
        yield kind, raw[_HEADER.size : length]
        raw = raw[(length + 3) & ~3 :]


def _info(message: bytes) -> Info | None:
    at = _ATTRIBUTES_AT
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        info = message[at + _ATTRIBUTE.size : at + length]
        if kind == _INET_DIAG_INFO:
            return _info_from(info)
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return None


def _info_from(raw: bytes) -> Info | None:
    if len(raw) < _BYTES_AT + _BYTES.size:
        return None
    heard_ms, acknowledged_ms = _LAST_HEARD.unpack_from(raw, _LAST_HEARD_AT)
    pulse = Pulse(raw[_RETRANSMITS_AT], acknowledged_ms, heard_ms)
    return Info(Count(*_BYTES.unpack_from(raw, _BYTES_AT)), pulse)
