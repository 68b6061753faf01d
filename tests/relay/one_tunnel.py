"""An embedded relay and one device with one port there, all in the test's process, in a loop whose clock can be moved."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
from doorward_relay.edges.embedded.server import Server

from tests.parts.ports import free_port
from tests.relay.relaying import SshCa
from tests.relay.test_embedded_moments import config_in, unavailable
from tests.relay.test_ledger import NOW, grant

T = TypeVar("T")
BANNER = b"SSH-2.0-test\r\n"


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose clock can be moved, and which remembers what went wrong in it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        super().__init__()
        self.said: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.said.append(context))

    def time(self) -> float:
        return super().time() + self.ahead_s


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run in such a loop; fails where anything was said in it. What was in memory before is not looked at: it is hundreds of times as much."""
    loop = _Loop()
    gc.collect()
    gc.freeze()
    try:
        result = loop.run_until_complete(coroutine)
        gc.collect()  # a task whose error nobody has asked for says so when it goes
    finally:
        loop.close()
    assert loop.said == []
    return result


class _Door(asyncssh.SSHTCPSession[bytes]):
    """The device's end of a visit: greets, and tidies up once the visitor has said all."""

    channel: asyncssh.SSHTCPChannel[bytes]

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self.channel = chan
        chan.write(BANNER)

    def eof_received(self) -> bool:
        self.channel.close()
        return False


@dataclass(slots=True)
class Tunnel:
    """A relay in this process, and a device that has one port there."""

    server: Server
    port: int
    ssh_port: int
    device: asyncssh.SSHClientConnection
    doors: list[_Door] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    listener: asyncssh.SSHListener | None = None
    is_refusing: bool = False

    async def answer(self) -> _Door:
        """Take a visitor in, or not, once that is allowed."""
        await self.may_answer.wait()
        if self.is_refusing:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody there")
        self.doors.append(_Door())
        return self.doors[-1]

    def let_pass(self, seconds: float) -> None:
        """Move the loop's clock."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)
        loop.ahead_s += seconds

    async def visit(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Come, and be known there; the door's greeting is read where the device answers."""
        before = len(self.server._visits)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await until(lambda: len(self.server._visits) == before + 1)
        if self.may_answer.is_set() and not self.is_refusing:
            assert await reader.readline() == BANNER
        return reader, writer


@asynccontextmanager
async def standing_tunnel(folder: Path) -> AsyncIterator[Tunnel]:
    """Let a device come to a relay and listen at its port."""
    config, authority, granted = config_in(folder), SshCa(), grant(port=free_port())
    server = Server(config, lambda: NOW)
    server.trust(authority.public_line)
    server.admit([granted])
    serving = asyncio.create_task(server.keep(unavailable))
    await until(server.is_serving)
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.certify(key.export_public_key().decode(), [granted.session])
    port = granted.forwards[0].port
    device = await asyncssh.connect(
        "127.0.0.1", config.ssh_port, username=config.tunnel_user, config=None, agent_path=None,
        client_keys=[(key, asyncssh.import_certificate(certificate))], known_hosts=None,
    )  # fmt: skip
    tunnel = Tunnel(server, port, config.ssh_port, device)
    tunnel.may_answer.set()
    try:
        tunnel.listener = await device.create_server(lambda *_: tunnel.answer(), "", port, encoding=None)
        yield tunnel
    finally:
        device.abort()
        tunnel.may_answer.set()  # else it is asked for ever
        server.stop()
        serving.cancel()
        await asyncio.wait([serving])


async def until(is_so: Callable[[], bool], limit_s: float = 20) -> None:
    async def wait() -> None:
        while not is_so():  # noqa: ASYNC110  nobody tells when something has gone
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), limit_s)


async def read_all(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 20)


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave at once, as a program that is killed does with words unread."""
    _reset(writer.get_extra_info("socket"))
    writer.transport.abort()


def hasty(port: int) -> None:
    """Come and go while the relay's loop, which is this thread's, looks elsewhere."""
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        _reset(one)


def _reset(one: Any) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
