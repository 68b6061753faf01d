"""The embedded relay's own server in the test's process, at a moment that from outside only chance would meet."""

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest
from doorward_protocol.ids import SessionId
from doorward_relay.config import EMBEDDED, RelayConfig
from doorward_relay.edges.embedded.device import Device
from doorward_relay.edges.embedded.server import Server
from doorward_relay.view import Tunnel

from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.relay.relaying import SshCa
from tests.relay.test_ledger import NOW, grant


class Ending(Server):
    """A relay whose grants end between the look at a certificate and the end of the log-in."""

    def logged_in(self, device: Device) -> None:
        self.admit(())
        super().logged_in(device)


@pytest.mark.threat("tunnel-after-end")
@pytest.mark.parametrize(("kind", "is_kept"), [(Server, True), (Ending, False)])
def test_a_device_when_its_grant_ends_while_it_logs_in_then_it_is_cut_at_once(
    scratch: Path, kind: type[Server], *, is_kept: bool
) -> None:
    """Who ended before he was among the connections is not forgotten there; one whose grant lives stays."""
    assert asyncio.run(stays(kind, scratch)) is is_kept


async def stays(kind: type[Server], folder: Path) -> bool:
    """Log in at a relay of ``kind``; tell whether it has the connection once it answered a session, or cut it."""
    config, authority, granted = config_in(folder), SshCa(), grant()
    server = kind(config, lambda: NOW)
    server.trust(authority.public_line)
    server.admit([granted])
    serving = asyncio.create_task(server.keep(unavailable))
    try:
        await asyncio.sleep(0)  # it listens, and then waits for ever
        key = asyncssh.generate_private_key("ssh-ed25519")
        certificate = authority.certify(key.export_public_key().decode(), [granted.session])
        with suppress(asyncssh.Error, OSError):
            async with asyncssh.connect(
                "127.0.0.1", config.ssh_port, username=config.tunnel_user, config=None, agent_path=None,
                client_keys=[(key, asyncssh.import_certificate(certificate))], known_hosts=None,
            ) as connection:  # fmt: skip
                await asyncio.wait_for(connection.run("hello"), 10)
                return len(server.look().tunnels) == 1
        return bool(server.look().tunnels)
    finally:
        server.stop()
        serving.cancel()


def config_in(folder: Path) -> RelayConfig:
    """Configure a relay on loopback, with a host key."""
    made = RelayConfig("127.0.0.1", "127.0.0.1", free_port(), state_dir=folder, kind=EMBEDDED)
    write_whole(made.host_key_file, asyncssh.generate_private_key("ssh-ed25519").export_private_key(), 0o600)
    return made


async def unavailable(_: Tunnel | None, __: SessionId) -> str:
    return "relay.unavailable"
