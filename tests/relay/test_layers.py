"""What is refused twice, by sshd's configuration and by the session's line, is refused by each of them alone."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from doorward_protocol.grants import Grant
from doorward_relay.principals import principals_line

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import missing, require
from tests.parts.ports import free_port, neighbours
from tests.parts.processes import PLAIN_ENVIRONMENT, Programs, run
from tests.parts.waiting import wait_until
from tests.relay.asking import AGENT, COMMAND, DISPLAY, TERMINAL, Request, answers
from tests.relay.conftest import Door
from tests.relay.relaying import Console, Device, Relay, device_for, install_relay
from tests.relay.serving import said_through

LAYERS: Final = ("configuration", "line", "neither")
"""Who refuses; with neither, everything goes, which shows that the test would see it."""
LOOK: Final = '#!/bin/sh\necho "terminal=$(tty) agent=${SSH_AUTH_SOCK-none} display=${DISPLAY-none}"\n'
GENEROUS: Final = {
    "AllowTcpForwarding remote": "AllowTcpForwarding yes",
    "AllowAgentForwarding no": "AllowAgentForwarding yes",
    "X11Forwarding no": "X11Forwarding yes\nXAuthLocation /bin/true",
    "PermitTTY no": "PermitTTY yes",
}
EXTENSIONS: Final = ("permit-pty", "permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding")


@dataclass(frozen=True, slots=True)
class Bench:
    """One sshd for each layer, a device with every extension, and what it must not reach."""

    devices: dict[str, Device]
    secret: Door
    agent: Path
    open_to_all: Path

    def runs(self, layer: str, *options: str) -> str:
        """Give what a forced command of the tests' own sees when the device asks for more with ``options``."""
        device = self.devices[layer]
        xauth = ("-o", "ForwardX11Trusted=yes", "-o", "XAuthLocation=/bin/true")
        argv = [require("ssh"), *xauth, *options, *device.options(), device.target]  # of each option the first counts
        ran = run(argv, env={**PLAIN_ENVIRONMENT, "DISPLAY": "127.0.0.1:99"})
        return ran.stdout.decode()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    for part in ("root", "sshd", "ssh", "useradd"):
        reason = missing(part)
        if reason is not None:
            pytest.skip(reason)
    with scratch_folder() as folder:
        programs, secret = Programs(folder), Door("secret")
        try:
            agent = programs.start(require("ssh").with_name("ssh-agent"), "-D", "-a", folder / "agent.sock")
            agent.wait_for_socket(folder / "agent.sock")
            relay = install_relay(programs, folder / "relay", neighbours(8))
            console = Console(relay, folder)
            write_whole(relay.folder / "state/sshd/tunnel_ca.pub", f"{console.tunnel_ca.public_line}\n")
            grant = console.grant(relay.ports[0])
            open_to_all = folder / "all"
            open_to_all.mkdir()
            open_to_all.chmod(0o777)
            devices = {layer: _device(relay, console, grant, folder / layer, layer) for layer in LAYERS}
            yield Bench(devices, secret, folder / "agent.sock", open_to_all)
        finally:
            programs.end_all()
            secret.shut()


def _device(relay: Relay, console: Console, grant: Grant, folder: Path, layer: str) -> Device:
    """Start an sshd of which one layer is the relay's own, or none is, and make a device that dials it."""
    folder.mkdir(mode=0o755)
    look = write_whole(folder / "look", LOOK, 0o755)
    ours = principals_line(grant, str(look))
    line = ours if layer == "line" else f'command="{look}" {grant.session}'
    write_whole(folder / "principals", f"{line}\n", 0o644)
    text = (relay.folder / "state/sshd/sshd_config").read_text()
    port = free_port()
    moved = {
        f"Port {relay.ssh_port}\n": f"Port {port}\n",
        f"PidFile {relay.folder}/run/sshd.pid": "PidFile none",
        str(relay.folder / "run/principals"): str(folder / "principals"),
    }
    for old, new in (moved if layer == "configuration" else moved | GENEROUS).items():
        text = text.replace(old, new)
    sshd = relay.programs.start(require("sshd"), "-D", "-e", "-f", write_whole(folder / "sshd_config", text))
    sshd.wait_for_port(port)
    there = Relay(relay.kind, relay.programs, relay.folder, port, relay.control_port, relay.ports, relay.line)
    return device_for(there, console, folder, grant.session, extensions=EXTENSIONS)


@pytest.mark.threat("tunnel-reaches")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_stdio_forward_when_one_layer_is_gone_then_the_other_refuses_it(bench: Bench, layer: str, host: str) -> None:
    """Nothing on the relay can be connected to: by permitopen alone, and by AllowTcpForwarding alone."""
    device = bench.devices[layer]
    argv = [require("ssh"), *device.options(), "-W", f"{host}:{bench.secret.port}", device.target]
    client = device.relay.programs.start(*argv, name="stdio-ssh")  # what is let through stays open until it is ended
    wait_until(lambda: not client.is_running or "secret" in client.log_text())
    client.end()
    assert ("secret" in client.log_text()) == (layer == "neither")
    assert ("administratively prohibited" in client.log_text()) == (layer != "neither")


@pytest.mark.threat("tunnel-reaches")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_local_forward_when_one_layer_is_gone_then_the_other_refuses_it(bench: Bench, layer: str) -> None:
    """A port of the device's own leads nowhere on the relay."""
    device, local = bench.devices[layer], free_port()
    there = f"127.0.0.1:{local}:127.0.0.1:{bench.secret.port}"
    argv = [require("ssh"), "-N", *device.options(), "-L", there, device.target]
    client = device.relay.programs.start(*argv, name="local-ssh")
    client.wait_for_port(local)
    came = said_through(local)
    client.end()
    assert (b"secret" in came) == (layer == "neither")


@pytest.mark.threat("tunnel-reaches")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_dynamic_forward_when_one_layer_is_gone_then_the_other_refuses_it(bench: Bench, layer: str) -> None:
    """Whoever speaks SOCKS to the device's own port gets nowhere on the relay."""
    device, local = bench.devices[layer], free_port()
    argv = [require("ssh"), "-N", *device.options(), "-D", f"127.0.0.1:{local}", device.target]
    client = device.relay.programs.start(*argv, name="dynamic-ssh")
    client.wait_for_port(local)
    came = said_through(local, bench.secret.port)
    client.end()
    assert (b"secret" in came) == (layer == "neither")
    assert (came == b"") == (layer != "neither")


@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("asked", [AGENT, DISPLAY, TERMINAL], ids=lambda asked: asked.name)
def test_a_request_when_one_layer_is_gone_then_the_other_answers_no(bench: Bench, layer: str, asked: Request) -> None:
    """What sshd answers to the request itself, whatever the client would make of it."""
    assert answers(bench.devices[layer], asked, COMMAND) == [layer == "neither", True]


@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_terminal_agent_or_display_when_one_layer_is_gone_then_the_other_refuses_it(bench: Bench, layer: str) -> None:
    """What the forced command sees: by PermitTTY and its like alone, and by restrict alone, nothing of the device's."""
    seen = (
        bench.runs(layer, "-tt")
        + bench.runs(layer, "-A", "-o", f"IdentityAgent={bench.agent}")
        + bench.runs(layer, "-X")
    )
    assert ("terminal=/dev/" in seen) == (layer == "neither")
    assert ("agent=/tmp/" in seen) == (layer == "neither")
    assert ("display=localhost:" in seen) == (layer == "neither")


@pytest.mark.threat("tunnel-reaches")
def test_a_unix_socket_when_the_configuration_refuses_it_then_it_is_neither_reached_nor_made(bench: Bench) -> None:
    """permitopen says nothing of unix sockets: a device gets to none of the relay's, and makes none there."""
    device, local = bench.devices["configuration"], free_port()
    with socket.socket(socket.AF_UNIX) as spoken_to:
        spoken_to.bind(str(bench.open_to_all / "there.sock"))
        (bench.open_to_all / "there.sock").chmod(0o777)
        spoken_to.listen()
        spoken_to.setblocking(False)
        there = f"127.0.0.1:{local}:{bench.open_to_all}/there.sock"
        client = device.relay.programs.start(
            require("ssh"), "-N", *device.options(), "-L", there, device.target, name="unix-ssh"
        )
        client.wait_for_port(local)
        with socket.create_connection(("127.0.0.1", local), timeout=5) as through, suppress(ConnectionResetError):
            assert through.recv(1) == b""
        client.end()
        with pytest.raises(BlockingIOError):
            spoken_to.accept()
    ran = device.attempt("-R", f"{bench.open_to_all}/made.sock:127.0.0.1:9", device.target)
    assert b"remote port forwarding failed" in ran.stderr
    assert not (bench.open_to_all / "made.sock").exists()
