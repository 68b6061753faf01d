"""What the embedded relay puts on a device's line: what was said, and nothing beside it."""

import asyncio
from collections import Counter
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE

from tests.relay.relaying import TUNNEL_USER, Console, Relay, of_embedded

pytestmark = of_embedded
TIMES = 20


class _Counting(asyncssh.SSHClientConnection):
    """A device's end that counts the packets that came, by their type (RFC 4250, section 4.1)."""

    def __init__(self, options: asyncssh.SSHClientConnectionOptions) -> None:
        super().__init__(asyncio.get_running_loop(), options, wait="auth")
        self.came: Counter[int] = Counter()

    def _finish_recv_packet(self, pkttype: int, seq: int, *more: Any, **named: Any) -> None:
        self.came[pkttype] += 1
        super()._finish_recv_packet(pkttype, seq, *more, **named)


class _Echo(asyncssh.SSHTCPSession[bytes]):
    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  asyncssh's
        self._channel.write(data)


async def _log_in(relay: Relay, console: Console, session: str, cipher: str) -> _Counting:
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = console.tunnel_ca.certify(key.export_public_key().decode(), [session])
    options = asyncssh.SSHClientConnectionOptions(
        host="127.0.0.1", port=relay.ssh_port, username=TUNNEL_USER, config=None, agent_path=None,
        client_keys=[(key, asyncssh.import_certificate(certificate))],
        known_hosts=asyncssh.import_known_hosts(relay.known_hosts()), encryption_algs=[cipher],
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    options.waiter = loop.create_future()
    _, connection = await loop.create_connection(lambda: _Counting(options), "127.0.0.1", relay.ssh_port)
    await options.waiter
    return connection


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
def test_a_device_when_somebody_types_through_it_then_it_gets_one_packet_for_each_word_and_no_empty_ones(
    relay: Relay, console: Console, cipher: str
) -> None:
    """asyncssh's empty packets guard CBC, which is not offered: they would double what a keystroke costs both ends."""
    granted = console.granted(relay.ports[0])

    async def typed() -> Counter[int]:
        device = await _log_in(relay, console, granted.session, cipher)
        async with device:
            await device.create_server(lambda *_: _Echo(), "", relay.ports[0], encoding=None)
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.ports[0])
            for _ in range(TIMES):
                writer.write(b"x")
                assert await asyncio.wait_for(reader.readexactly(1), 20) == b"x"
            writer.close()
        return device.came

    came = asyncio.run(typed())
    assert came[MSG_CHANNEL_DATA] == TIMES
    assert came[MSG_IGNORE] == 0
