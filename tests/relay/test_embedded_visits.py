"""Visits of the embedded relay end, whatever the device's program does about its side."""

import asyncio
from pathlib import Path

import asyncssh
import pytest

from tests.parts.waiting import wait_until
from tests.relay.relaying import Console, Relay, of_embedded
from tests.relay.test_embedded_rude import come_in

pytestmark = of_embedded
VISITS = 40


class _NeverCloses(asyncssh.SSHTCPSession[bytes]):
    """asyncssh's own way: it answers the other side's end with an end, and closes nothing."""


@pytest.mark.feature("B17")
def test_a_device_when_it_ends_its_side_and_never_closes_then_its_visitors_do_not_stay(
    relay: Relay, console: Console
) -> None:
    """Who has left and was said all to costs no descriptor, whether or not the device's program tidies up."""
    granted = console.granted(relay.ports[0])

    async def be_visited(connection: asyncssh.SSHClientConnection) -> None:
        port = relay.ports[0]
        await connection.create_server(lambda *_: _NeverCloses(), "", port, encoding=None)
        for _ in range(VISITS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        await asyncio.to_thread(
            wait_until, lambda: descriptors(relay) < before + VISITS // 2, 10, "visitors to be gone"
        )

    before = descriptors(relay)
    asyncio.run(come_in(relay, console, granted.session, be_visited))


class _Echo(asyncssh.SSHTCPSession[bytes]):
    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  asyncssh's
        self._channel.write(data)


@pytest.mark.parametrize("every", [1, 100_000])
def test_a_device_when_keys_are_exchanged_anew_all_the_time_then_what_it_carries_arrives(
    relay: Relay, console: Console, every: int
) -> None:
    """What a log-in leaves behind is let go of; later exchanges bring their own, also one that begins during the log-in."""
    granted = console.granted(relay.ports[0])

    async def carry(connection: asyncssh.SSHClientConnection) -> None:
        await connection.create_server(lambda *_: _Echo(), "", relay.ports[0], encoding=None)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.ports[0])
        for n in range(20):
            text = bytes([n]) * 30_000
            writer.write(text)
            came.append(await asyncio.wait_for(reader.readexactly(len(text)), 20) == text)
        writer.close()

    came: list[bool] = []
    asyncio.run(come_in(relay, console, granted.session, carry, every))
    assert came == [True] * 20


def descriptors(relay: Relay) -> int:
    assert relay.daemon is not None
    return len(list(Path(f"/proc/{relay.daemon.pid}/fd").iterdir()))
