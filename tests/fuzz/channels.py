"""What somebody may say over SSH who has proved a key: requests and channels, kept and broken (RFC 4254)."""

import struct
from contextlib import suppress

import paramiko
from hypothesis import strategies as st


def words(name: bytes, wants_answer: bool, rest: bytes) -> bytes:  # noqa: FBT001 - the wire's order
    return struct.pack(">I", len(name)) + name + bytes([wants_answer]) + rest


addresses = st.builds(
    lambda host, port: struct.pack(">I", len(host)) + host + struct.pack(">I", port),
    st.sampled_from([b"", b"*", b"localhost", b"0.0.0.0", b"127.0.0.1", b"::", b"\xff\xfe", b"a" * 5_000]),
    st.integers(0, 70_000) | st.integers(0, 2**32 - 1),
)
numbers = st.integers(0, 3) | st.integers(0, 2**32 - 1) | st.just(2**32 - 1)
rests = addresses | st.binary(max_size=60)
names = st.sampled_from(
    [b"tcpip-forward", b"cancel-tcpip-forward", b"streamlocal-forward@openssh.com", b"keepalive@openssh.com", b"no-more-sessions@openssh.com", b"exec",
     b"shell", b"env", b"pty-req", b"subsystem", b"signal", b"exit-status", b"hostkeys-prove-00@openssh.com"]
) | st.binary(max_size=30)  # fmt: skip
kinds = st.sampled_from([b"session", b"direct-tcpip", b"forwarded-tcpip", b"x11", b"tun@openssh.com"]) | st.binary(
    max_size=20
)
sizes = st.just((0, 65_536, 32_768)) | st.tuples(numbers, numbers, numbers)
polite = (
    st.builds(lambda wants, address: bytes([80]) + words(b"tcpip-forward", wants, address), st.booleans(), addresses)
    | st.builds(lambda sizes: bytes([90]) + b"\0\0\0\7session" + struct.pack(">III", *sizes), sizes)
    | st.builds(lambda to, name: struct.pack(">BI", 98, to) + words(name, wants_answer=True, rest=b""), numbers, names)
)
"""Requests that a library reads to their end and hands on to us; whoever says anything worse is hung up on."""
messages = (
    st.builds(lambda name, wants, rest: bytes([80]) + words(name, wants, rest), names, st.booleans(), rests)
    | st.builds(
        lambda kind, sizes, rest: bytes([90]) + struct.pack(">I", len(kind)) + kind + struct.pack(">III", *sizes) + rest,
        kinds, sizes, rests,
    )
    | st.builds(lambda to, name, wants, rest: struct.pack(">BI", 98, to) + words(name, wants, rest), numbers, names, st.booleans(), rests)
    | st.builds(lambda kind, to, rest: struct.pack(">BI", kind, to) + rest, st.integers(91, 100), numbers, rests)
    | st.builds(lambda kind, many, rest: struct.pack(">BI", kind, many) + rest, st.sampled_from([5, 6, 7, 50, 51, 60, 61]), numbers, rests)
    | st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(1, 255), rests)
)  # fmt: skip
"""What may come from anybody then: requests, channels, and whatever else the protocol has a number for, with how many of it are said to follow."""


def say_all(transport: paramiko.Transport, said: list[bytes]) -> None:
    """Say it all, and hear what the other side says to it, until it hangs up."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        for one in said:
            transport._send_user_message(paramiko.Message(one))  # type: ignore[attr-defined]
        transport.global_request("keepalive@openssh.com")
