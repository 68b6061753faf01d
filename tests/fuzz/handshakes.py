"""What a stranger may say to an SSH server before it is anybody: RFC 4253, sections 4.2, 6 and 7.1, kept and broken."""

import socket
import struct
from contextlib import suppress
from typing import Final

from hypothesis import strategies as st

VERSION: Final = b"SSH-2.0-OpenSSH_9.2p1\r\n"
_KEXINIT: Final = 20


def name_list(names: bytes) -> bytes:
    """Write a string as SSH does (RFC 4251, section 5)."""
    return struct.pack(">I", len(names)) + names


def _packet(payload: bytes, padding: int) -> bytes:
    """Frame a payload as a binary packet; ``padding`` may be too little or too much."""
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + b"\0" * padding


names = st.binary(max_size=60) | st.sampled_from(
    [b"curve25519-sha256", b"ssh-ed25519", b"aes128-gcm@openssh.com", b"none", b",,,", b"a," * 500]
)
kexinit = st.lists(names, min_size=8, max_size=12).map(
    lambda lists: bytes([_KEXINIT]) + b"\0" * 16 + b"".join(map(name_list, lists)) + b"\0" * 5
)
payloads = (
    kexinit
    | st.binary(max_size=300)
    | st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 255), st.binary(max_size=80))
)
packets = st.builds(_packet, payloads, st.integers(0, 255)) | st.binary(max_size=200) | st.just(b"\xff" * 40)
versions = (
    st.just(VERSION)
    | st.binary(max_size=300)
    | st.sampled_from([b"SSH-1.0-x\r\n", b"SSH-2.0-" + b"x" * 300 + b"\r\n", b"GET / HTTP/1.0\r\n\r\n", b"\r\n" * 50])
)
handshakes = st.tuples(versions, st.lists(packets, max_size=4))
"""What is said first, and what comes after it."""


def say(port: int, handshake: tuple[bytes, list[bytes]]) -> None:
    """Say it all, whatever comes back, and hang up."""
    first, following = handshake
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        stranger.settimeout(0.2)
        stranger.recv(300)
        stranger.sendall(first)
        for piece in following:
            stranger.sendall(piece)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(65_536):
            pass
