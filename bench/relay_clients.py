"""Devices for ``bench/relay.py``: hundreds in one process, each with an ssh connection, a forward and a door of its own.

Started by the bench with a file of what to dial; told by lines on standard input which of them to dial next; answers each
line with one of its own when all of those are up. A door shows its session's banner, as the relay's probe wants, and then
gives back what it is sent. Ends with its standard input.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncssh

AT_ONCE = 100
"""Handshakes under way in this process when thousands are dialled: nobody measures that."""


class Fleet:
    """The devices of one process."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._key = asyncssh.import_private_key(document["key"])
        self._relay = document["relay"]
        self._devices = document["devices"]
        self._hosts = asyncssh.import_known_hosts(document["known_hosts"])
        self._open: list[asyncssh.SSHClientConnection] = []

    async def dial(self, first: int, last: int, at_once: int) -> None:
        gate = asyncio.Semaphore(at_once)
        await asyncio.gather(*(self._dial(one, gate) for one in self._devices[first:last]))

    async def _dial(self, device: dict[str, Any], gate: asyncio.Semaphore) -> None:
        async with gate:
            link = await asyncssh.connect(
                *self._relay, username="doorward-tunnel", known_hosts=self._hosts, config=None, agent_path=None,
                client_keys=[(self._key, asyncssh.import_certificate(device["certificate"]))],
                encryption_algs=["aes128-gcm@openssh.com"], kex_algs=["curve25519-sha256"],
                login_timeout=120, connect_timeout=120,
            )  # fmt: skip
            banner = f"SSH-2.0-OpenSSH_9.2 doorward-{device['banner']}\r\n".encode()
            await link.create_server(lambda *_: _Door(banner), "", device["port"], encoding=None)
            self._open.append(link)


class _Door(asyncssh.SSHTCPSession[bytes]):
    def __init__(self, banner: bytes) -> None:
        self._banner = banner

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._channel.write(self._banner)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  asyncssh's
        self._channel.write(data)


async def main() -> None:
    fleet = Fleet(json.loads(await asyncio.to_thread(Path(sys.argv[1]).read_text)))
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        await fleet.dial(asked["first"], asked["last"], asked.get("at_once", AT_ONCE))
        print(json.dumps({"up": asked["last"] - asked["first"]}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
