"""A real agent process between a real broker, a real sshd as relay, and a scripted runner and console."""

import json
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doorward_agent.config import Config
from doorward_agent.edges.reachability import Lookup, resolved
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event
from doorward_protocol.ids import SessionId
from doorward_protocol.orders import OpenDoor, RelayRoute

from tests.agent.scripted import ScriptedConsole, ScriptedRunner, Seat, TunnelCa, new_id, private_pem, ssh_line
from tests.agent.tunnels import FOLDERS, RELAY_OPTIONS, Bench, Relay
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.mosquitto import Broker
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs
from tests.parts.sshd import start_sshd


@dataclass(slots=True)
class Scene:
    """Everything around one device."""

    folder: Path
    programs: Programs
    broker: Broker
    seat: Seat
    console: ScriptedConsole
    runner: ScriptedRunner
    relay: Relay
    agent: Program | None = None

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    def start_agent(self, *options: str) -> Program:
        self.agent = self.programs.start(
            sys.executable, *options, "-m", "doorward_agent", "--config", self.config, "run", name="agent"
        )
        return self.agent

    def start(self) -> None:
        """Start the agent and wait for its first ask."""
        self.start_agent()
        self.console.next_ask()

    def status(self) -> dict[str, Any]:
        argv = [sys.executable, "-m", "doorward_agent", "--config", str(self.config), "status", "--json"]
        done = subprocess.run(argv, capture_output=True, check=True, timeout=20)
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def open_body(self, **changes: Any) -> OpenDoor:
        """Make a body for a session that the relay admits."""
        body = self.console.body(**changes)
        self.relay.admit(body.session, self.console.port)
        return self.certified(body)

    @property
    def routes(self) -> tuple[RelayRoute, ...]:
        return (self.relay.route(self.relay.ca.certificate(self.seat.tunnel, new_id("s"))),)

    def certified(self, body: OpenDoor) -> OpenDoor:
        certificate = self.relay.ca.certificate(self.seat.tunnel, body.session)
        return self.console.body(
            body.session, relays=(self.relay.route(certificate),), ends_at=body.ends_at, duration_s=body.duration_s
        )

    def open(self, **changes: Any) -> OpenDoor:
        """Order the door open and wait until the device says so."""
        body = self.open_body(**changes)
        self.console.publish(self.console.order(body))
        self.console.wait_for_state("OPEN")
        return body

    def log(self) -> str:
        assert self.agent is not None
        return self.agent.log_text()


@pytest.fixture
def relay_options() -> tuple[str, ...]:
    """What a test's sshd is told before everything else."""
    return ()


@cache
def rsa_host_key() -> bytes:
    """Make one RSA key for all relays of a run: it takes a tenth of a second."""
    return private_pem(rsa.generate_private_key(65_537, 2048))


@pytest.fixture
def relay(programs: Programs, scratch: Path, relay_options: tuple[str, ...]) -> Relay:
    """A plain sshd with a tunnel CA."""
    require("sshd")
    folder = scratch / "relay"
    folder.mkdir(mode=0o711)
    ca = TunnelCa()
    write_whole(folder / "tunnel-ca.pub", f"{ssh_line(ca.key)}\n")
    write_whole(folder / "principals", "")
    write_whole(folder / "host_key_rsa", rsa_host_key(), 0o600)
    write_whole(folder / "host_key_ecdsa", private_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
    options = [option.format(folder=folder) for option in (*relay_options, *RELAY_OPTIONS)]
    return Relay(start_sshd(programs, folder, [], options), ca)


@pytest.fixture(params=["in memory", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which edges a test of ``doorward_agent.contracts`` is about."""
    return str(request.param)


@pytest.fixture
def tunnel() -> str:
    """Who dials the relay; a test that is parametrized by this name runs with each."""
    return "ssh"


@pytest.fixture
def scene(programs: Programs, scratch: Path, relay: Relay, any_broker: Broker, tunnel: str) -> Iterator[Scene]:
    """A joined device; its agent is not started yet."""
    broker = any_broker
    seat = Seat(scratch / "state")
    seat.write(broker)
    console = ScriptedConsole(seat, broker, port=free_port())
    runner = ScriptedRunner(scratch)
    write_whole(
        scratch / "agent.toml",
        f'state_dir = "{seat.state_dir}"\nrunner = "socket"\nrunner_socket = "{runner.path}"\n'
        f'runner_nonce_file = "{runner.nonce_file}"\ntunnel = "{tunnel}"\n',
    )
    console.start()
    made = Scene(scratch, programs, broker, seat, console, runner, relay)
    yield made
    console.stop()
    if made.agent is not None:
        sys.stderr.write(made.log())  # pytest shows it beside a failure


@pytest.fixture
def running(scene: Scene) -> Scene:
    """A joined device whose agent has asked."""
    scene.start()
    return scene


@pytest.fixture
def limit_s() -> int:
    """How long a dial may take: as long as on a device, for a busy machine needs seconds; a test of the limit itself names another."""
    return 20


@pytest.fixture
def lookup() -> Lookup:
    """Who resolves a relay's name; a test of resolvers names another."""
    return resolved


@pytest.fixture
def bench(relay: Relay, scratch: Path, tunnel: str, limit_s: int, lookup: Lookup) -> Iterator[Bench]:
    """A tunnel edge, its relay, and a door that the test answers for."""
    key = Ed25519PrivateKey.generate()
    state, run = (scratch / name for name in FOLDERS)
    state.mkdir()
    write_whole(state / "tunnel_key", private_pem(key), 0o600)
    run.mkdir()
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    config = Config(state_dir=state, tunnel=tunnel, tunnel_limit_s=limit_s, relay_keepalive_s=1)
    edge = TunnelEdge(config, run, came.put, lookup)
    door = socket.create_server(("127.0.0.1", 0))
    made = Bench(edge, came, relay, key, SessionId(new_id("s")), free_port(), door, scratch)
    relay.admit(made.session, made.port)
    yield made
    edge.stop()
    door.close()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """Close what a test opened."""
    with ExitStack() as stack:
        yield stack
