"""The embedded relay and a device that is let in and then asks without end: what it may make the relay remember is bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_REQUEST, MSG_GLOBAL_REQUEST
from asyncssh.packet import Boolean, String, UInt32

from tests.relay.relaying import TUNNEL_USER, Console, Relay, of_embedded

pytestmark = [of_embedded, pytest.mark.threat("tunnel-shell")]

MIB = 1024 * 1024
Rudeness = Callable[[asyncssh.SSHClientConnection, int], Awaitable[None]]


async def name_variables(connection: asyncssh.SSHClientConnection, _: int) -> None:
    """Set 96 MiB of environment for a session that starts nothing."""
    channel: Any = asyncssh.SSHClientChannel(
        connection, asyncio.get_running_loop(), "strict", None, "strict", 65_536, 32_768
    )
    await channel._open(b"session")
    for number in range(96 * 32):
        channel.send_packet(
            MSG_CHANNEL_REQUEST, String("env"), Boolean(False), String(f"A{number}"), String(b"x" * 32_000)
        )
        if number % 32 == 0:
            await asyncio.sleep(0)


async def ask_for_ports(connection: asyncssh.SSHClientConnection, port: int) -> None:
    """Ask 60,000 times for the port, each time under a long name."""
    asked: Any = connection
    for number in range(60_000):
        asked.send_packet(
            MSG_GLOBAL_REQUEST, String("tcpip-forward"), Boolean(False), String(b"x" * 1_500), UInt32(port)
        )
        if number % 100 == 0:
            await asyncio.sleep(0)


@pytest.mark.parametrize("rude", [name_variables, ask_for_ports])
def test_a_device_when_it_asks_without_end_then_memory_stays_and_others_come_in(
    relay: Relay, console: Console, rude: Rudeness
) -> None:
    """Requests that are refused one by one are not kept, and their author may be thrown out; the relay goes on."""
    granted = console.granted(relay.ports[0])
    before = peak(relay)
    asyncio.run(come_in(relay, console, granted.session, lambda connection: rude(connection, relay.ports[0])))
    assert (peak(relay) - before) / MIB < 24
    asyncio.run(come_in(relay, console, granted.session, say_hello))


async def say_hello(connection: asyncssh.SSHClientConnection) -> None:
    assert "code" in str((await connection.run("hello", check=True)).stdout)


async def come_in(
    relay: Relay,
    console: Console,
    session: str,
    then: Callable[[asyncssh.SSHClientConnection], Awaitable[None]],
    rekey_bytes: int = 1 << 30,
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = console.tunnel_ca.certify(key.export_public_key().decode(), [session])
    async with asyncssh.connect(
        "127.0.0.1", relay.ssh_port, username=TUNNEL_USER, client_keys=[(key, asyncssh.import_certificate(certificate))],
        config=None, agent_path=None, known_hosts=asyncssh.import_known_hosts(relay.known_hosts()),
        rekey_bytes=rekey_bytes,
    ) as connection:  # fmt: skip
        with suppress(asyncssh.Error, OSError):  # thrown out
            await then(connection)
            # What was written has been read once the relay answers what came last.
            await asyncio.wait_for(connection.run("hello"), 60)


def peak(relay: Relay) -> int:
    """Give the most memory that the relay's process ever had (proc(5), VmHWM)."""
    assert relay.daemon is not None
    lines = Path(f"/proc/{relay.daemon.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
