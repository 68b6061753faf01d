"""How many bytes went through a TCP connection, by the kernel's own count (sock_diag(7), tcp_info).

One netlink dump for all established connections of an address family. Where the kernel does not tell, there is no count
rather than a guess.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final

from doorward_relay.view import ESTABLISHED, Count

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_INET_DIAG_INFO: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")
_INODE_AT: Final = 68
_ATTRIBUTES_AT: Final = 72
"""struct inet_diag_msg (linux/inet_diag.h): 72 bytes, the last four the inode."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_BYTES: Final = struct.Struct("=QQ")
_BYTES_AT: Final = 120
"""struct tcp_info (linux/tcp.h): tcpi_bytes_acked, tcpi_bytes_received, since Linux 4.1."""
_LIMIT_S: Final = 1.0


def byte_counts() -> dict[int, Count]:
    """Give the counts of established connections by the inode of their socket; empty where the kernel does not tell."""
    found: dict[int, Count] = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(_LIMIT_S)
            for family in (socket.AF_INET, socket.AF_INET6):
                found.update(_dump(kernel, family))
    except OSError:
        return {}
    return found


def _dump(kernel: socket.socket, family: int) -> Iterator[tuple[int, Count]]:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 1 << ESTABLISHED)
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
    kernel.sendto(header + body, (0, 0))
    while True:
        for kind, message in _messages(kernel.recv(262_144)):
            if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                return
            count = _count(message)
            if count is not None:
                yield struct.unpack_from("=I", message, _INODE_AT)[0], count


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(raw)
        yield kind, raw[_HEADER.size : length]
        raw = raw[(length + 3) & ~3 :]


def _count(message: bytes) -> Count | None:
    at = _ATTRIBUTES_AT
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        info = message[at + _ATTRIBUTE.size : at + length]
        if kind == _INET_DIAG_INFO and len(info) >= _BYTES_AT + _BYTES.size:
            return Count(*_BYTES.unpack_from(info, _BYTES_AT))
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return None
