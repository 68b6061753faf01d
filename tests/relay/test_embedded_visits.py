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


def descriptors(relay: Relay) -> int:
    assert relay.daemon is not None
    return len(list(Path(f"/proc/{relay.daemon.pid}/fd").iterdir()))
