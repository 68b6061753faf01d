"""What OpenSSH's client does not ask of a relay, asked all the same: a test by that client would pass without asking.

It asks for an agent or a display only where it has one itself, does not tell whether it got it, and shows no certificate
that is a host's. Here every request is sent and wants an answer (RFC 4254, section 5.4), and every certificate is shown.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncssh
import paramiko
from asyncssh.packet import Boolean, String, UInt32

from tests.relay.relaying import Device


@dataclass(frozen=True, slots=True)
class Request:
    """A request on a session's channel: its name, and what goes with it."""

    name: str
    carries: tuple[bytes, ...] = ()


AGENT: Final = Request("auth-agent-req@openssh.com")
DISPLAY: Final = Request("x11-req", (Boolean(False), String("MIT-MAGIC-COOKIE-1"), String("00" * 16), UInt32(0)))
TERMINAL: Final = Request("pty-req", (String("xterm"), *[UInt32(n) for n in (80, 24, 0, 0)], String(b"\x00")))
VARIABLE: Final = Request("env", (String("LD_PRELOAD"), String("/tmp/x.so")))
COMMAND: Final = Request("exec", (String("id"),))
"""The one thing of these that is given: hello, whatever is named."""


def answers(device: Device, *requests: Request) -> list[bool]:
    """Log in as ``device``, open one session's channel, and give the relay's answer to each request in turn."""
    return asyncio.run(asyncio.wait_for(_answers(device, requests), 20))


async def _answers(device: Device, requests: tuple[Request, ...]) -> list[bool]:
    connection, _ = await _connected(device)
    channel = _channel(connection)
    await channel._open(b"session")
    said = [bool(await channel._make_request(one.name.encode(), *one.carries)) for one in requests]
    connection.abort()
    return said


def words_on_a_tun_device(device: Device) -> list[str]:
    """Log in as ``device``, ask for a network device of the relay's, and give what it says, ``opened`` if it made one."""
    return asyncio.run(asyncio.wait_for(_words(device), 20))


async def _words(device: Device) -> list[str]:
    connection, hearing = await _connected(device)
    try:
        await _channel(connection)._open(b"tun@openssh.com", UInt32(_LAYER_3), UInt32(_ANY_UNIT))
    except asyncssh.ChannelOpenError as refused:
        return [*hearing.said, refused.reason]
    finally:
        connection.abort()
    return [*hearing.said, "opened"]


_LAYER_3: Final = 1
_ANY_UNIT: Final = 0x7FFFFFFF
"""OpenSSH's PROTOCOL, section 2.3."""


class _Hearing(asyncssh.SSHClient):
    """Keeps what the relay says beside its answers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def debug_msg_received(self, msg: str, *_: object) -> None:
        self.said.append(msg)


async def _connected(device: Device) -> tuple[asyncssh.SSHClientConnection, _Hearing]:
    key = asyncssh.read_private_key(device.folder / "device_key")
    hearing = _Hearing()
    connection, _ = await asyncssh.create_connection(
        lambda: hearing, "127.0.0.1", device.relay.ssh_port, username=device.user,
        client_keys=[(key, asyncssh.import_certificate(device.certificate))], config=None, agent_path=None,
        known_hosts=asyncssh.import_known_hosts(device.relay.known_hosts()),
    )  # fmt: skip
    return connection, hearing


def _channel(connection: asyncssh.SSHClientConnection) -> Any:
    return asyncssh.SSHClientChannel(connection, asyncio.get_running_loop(), "strict", None, "strict", 65_536, 32_768)


@contextmanager
def logged_in(device: Device) -> Iterator[paramiko.Transport]:
    """Show the relay whatever certificate ``device`` has; raises AuthenticationException where the relay does not let us in by it."""
    key = paramiko.Ed25519Key.from_private_key_file(str(device.folder / "device_key"))
    key.load_certificate(device.certificate)
    transport = paramiko.Transport(socket.create_connection(("127.0.0.1", device.relay.ssh_port), timeout=10))
    try:
        transport.start_client(timeout=10)
        transport.auth_publickey(device.user, key)
        yield transport
    finally:
        transport.close()


def is_logged_in(device: Device) -> bool:
    """Tell whether the relay lets ``device`` in by its certificate."""
    try:
        with logged_in(device) as transport:
            return transport.is_authenticated()
    except paramiko.AuthenticationException:
        return False
