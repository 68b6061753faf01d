"""Named forwards over a real sshd as relay, by both ways to dial, to real listeners on loopback."""

import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from doorward_agent import events
from doorward_agent.config import AllowedForward, Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import scouting
from doorward_agent.edges.dialling import Found
from doorward_agent.edges.reachability import Address
from doorward_agent.edges.rehearsing import RehearsalEdge
from doorward_agent.edges.scouting import Scout
from doorward_agent.edges.target_trial import TargetTrial
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event, ForwardTold, RehearsalTold
from doorward_protocol.ids import CommandId
from doorward_protocol.orders import Forward
from doorward_protocol.targets import STEPS, ForwardTest

from tests.agent.scripted import new_id
from tests.agent.tunnels import TUNNELS, Bench
from tests.parts.ports import free_port, is_listening
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.feature("R6")

LITERAL = "127.0.0.1"
"""Written as an address in the configuration: the one way to lead to the device itself, and where tests' targets are."""


@pytest.fixture(params=TUNNELS)
def tunnel(request: pytest.FixtureRequest) -> str:
    """Who dials: every test of the edge runs over both."""
    return str(request.param)


@dataclass(slots=True)
class Service:
    """Something in the customer's network: greets whoever comes, and counts them."""

    greeting: bytes
    host: str = LITERAL
    visitors: int = 0
    listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.listener = socket.create_server((self.host, 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def target(self) -> str:
        return f"tcp:{self.host}:{self.port}"

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            self.visitors += 1
            visitor.sendall(self.greeting)
            visitor.close()


@dataclass(slots=True)
class Resolver:
    """A resolver that answers with the next of its answers each time, and with the last from then on."""

    answers: list[str]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return socket.getaddrinfo(answer, port, type=socket.SOCK_STREAM)


@dataclass(slots=True)
class Stage:
    """A tunnel edge whose device allows some forwards, beside the bench's own."""

    bench: Bench
    edge: TunnelEdge
    came: "queue.SimpleQueue[Event]"
    forwards: tuple[Forward, ...]

    def open(self) -> None:
        """Dial, and wait until the door is open."""
        bench = self.bench
        door = Forward("ssh", "ssh", "localhost", bench.port)
        bench.relay.admit(bench.session, bench.port, "/bin/false", *(one.port for one in self.forwards))
        self.edge.open(Dial(1, bench.session, bench.relay.route(bench.certificate()), (door, *self.forwards)))
        self.edge.forward(1, bench.door_port)
        assert self.came.get(timeout=20) == events.TunnelOpened(1)

    def told(self) -> ForwardTold:
        event = self.came.get(timeout=20)
        assert isinstance(event, ForwardTold)
        return event

    def door_answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.bench.port), 5):
            self.bench.door.settimeout(20)
            self.bench.door.accept()[0].close()
            return True


class Stages:
    """Makes them, and ends them."""

    def __init__(self, bench: Bench, tunnel: str) -> None:
        self._bench, self._tunnel = bench, tunnel
        self.made: list[Stage] = []

    def stage(
        self, allowed: dict[str, AllowedForward], ordered: dict[str, str], resolver: Resolver | None = None
    ) -> Stage:
        """Make an edge with a configuration, and forwards as they are ordered."""
        run = self._bench.folder / "another run folder"
        run.mkdir()
        came: queue.SimpleQueue[Event] = queue.SimpleQueue()
        config = Config(state_dir=self._bench.state_dir, tunnel=self._tunnel, forwards=allowed)
        more = {} if resolver is None else {"lookup": resolver}
        edge = TunnelEdge(config, run, came.put, **more)
        forwards = tuple(Forward(name, target, "localhost", free_port()) for name, target in ordered.items())
        self.made.append(Stage(self._bench, edge, came, forwards))
        return self.made[-1]


@pytest.fixture
def stages(bench: Bench, tunnel: str) -> Iterator[Stages]:
    made = Stages(bench, tunnel)
    yield made
    for one in made.made:
        one.edge.stop()


def read(port: int) -> bytes:
    """Connect to a port of the relay as an engineer's program would, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), 20) as visitor:
        visitor.settimeout(20)
        said = b""
        while came := visitor.recv(100):
            said += came
        return said


def test_forward_when_device_and_order_allow_it_then_it_leads_to_its_target_and_ends_with_the_tunnel(
    stages: Stages,
) -> None:
    """Two targets beside the door, each on its own port; the end frees all three."""
    one, two = Service(b"one"), Service(b"two")
    targets = {"one": one.target, "two": two.target}
    stage = stages.stage({name: AllowedForward(target) for name, target in targets.items()}, targets)
    stage.open()
    assert {(event.forward.name, event.address, event.code) for event in (stage.told(), stage.told())} == {
        ("one", LITERAL, None),
        ("two", LITERAL, None),
    }
    assert [read(forward.port) for forward in stage.forwards] == [b"one", b"two"]
    assert stage.door_answers()
    stage.edge.end(1)
    assert stage.came.get(timeout=20) == events.TunnelEnded(1)
    ports = (stage.bench.port, *(forward.port for forward in stage.forwards))
    wait_until(lambda: not any(is_listening(port) for port in ports))


@pytest.mark.threat("forward-elsewhere")
@pytest.mark.parametrize(("name", "code"), [("other", "forward.not-allowed"), ("one", "forward.other-target")])
def test_forward_when_the_configuration_does_not_allow_it_then_told_and_the_door_is_open(
    stages: Stages, name: str, code: str
) -> None:
    """What a console orders beyond the device's own configuration is not connected to, and costs the door nothing."""
    mine, theirs = Service(b"mine"), Service(b"theirs")
    stage = stages.stage({"one": AllowedForward(mine.target)}, {name: theirs.target})
    stage.open()
    assert stage.told().code == code
    assert stage.door_answers()
    assert not is_listening(stage.forwards[0].port)
    assert theirs.visitors == 0


@pytest.mark.threat("name-rebinds")
def test_name_when_it_resolves_to_the_device_itself_then_refused_and_nothing_is_connected_to(stages: Stages) -> None:
    """A name that leads to loopback, which nobody wrote as an address, stays shut; the address that it had is told."""
    secret = Service(b"secret")
    target = f"tcp:db.plant.example:{secret.port}"
    stage = stages.stage({"db": AllowedForward(target)}, {"db": target}, Resolver([LITERAL]))
    stage.open()
    told = stage.told()
    assert (told.code, told.address) == ("forward.address-not-allowed", LITERAL)
    assert stage.door_answers()
    assert secret.visitors == 0
    assert not is_listening(stage.forwards[0].port)


@pytest.mark.threat("name-rebinds")
def test_name_when_it_resolves_otherwise_the_second_time_then_nobody_asks_a_second_time() -> None:
    """The address that was judged is the one that is connected to; a resolver that changes its mind is not heard again."""
    resolver = Resolver(["192.0.2.9", LITERAL])
    with socket.create_server((LITERAL, 0)) as trap:
        port = int(trap.getsockname()[1])
        trial = TargetTrial("db", None, {"db": AllowedForward(f"tcp:db.plant.example:{port}")}, resolver)
        *_, last = trial.run(with_banner=False)
        assert (last.address, last.code) == ("192.0.2.9", "forward.unreachable")
        assert trial.place == ("192.0.2.9", port)
        assert resolver.asked == ["db.plant.example"]
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_target_when_nothing_answers_there_then_told_and_its_port_stays_shut(stages: Stages) -> None:
    """A port that leads nowhere is not opened; the door is."""
    target = f"tcp:{LITERAL}:{free_port()}"
    stage = stages.stage({"db": AllowedForward(target)}, {"db": target})
    stage.open()
    assert stage.told().code == "forward.unreachable"
    assert not is_listening(stage.forwards[0].port)
    assert stage.door_answers()


def test_forward_when_the_relay_refuses_its_port_then_told_and_the_door_is_open(stages: Stages) -> None:
    """At a relay whose line does not name the port."""
    service = Service(b"one")
    stage = stages.stage({"one": AllowedForward(service.target)}, {"one": service.target})
    elsewhere, stage.forwards = stage.forwards, ()
    bench = stage.bench
    door = Forward("ssh", "ssh", "localhost", bench.port)
    stage.edge.open(Dial(1, bench.session, bench.relay.route(bench.certificate()), (door, *elsewhere)))
    stage.edge.forward(1, bench.door_port)
    assert stage.came.get(timeout=20) == events.TunnelOpened(1)
    assert stage.told().code == "forward.port-refused"
    assert stage.door_answers()


def test_forward_when_its_port_at_the_relay_was_held_for_a_while_then_it_is_opened_afterwards(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an old connection's listener, or by whatever called out from that port a moment ago."""
    monkeypatch.setattr(scouting, "AGAIN_S", 0.1)
    service = Service(b"one")
    stage = stages.stage({"one": AllowedForward(service.target)}, {"one": service.target})
    port = stage.forwards[0].port
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True):
        stage.open()
        assert stage.told().code == "forward.port-refused"
    told = stage.told()
    while told.code is not None:
        told = stage.told()
    with socket.create_connection((LITERAL, port), 20) as visitor:
        assert visitor.recv(100) == b"one"


def test_target_when_it_comes_up_later_then_it_is_found_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be reached is tried again while the tunnel stands; what is not allowed is not."""
    monkeypatch.setattr(scouting, "AGAIN_S", 0.05)
    port = free_port()
    target = f"tcp:{LITERAL}:{port}"
    came: queue.SimpleQueue[Found] = queue.SimpleQueue()
    scout = Scout({"db": AllowedForward(target)}, Resolver([LITERAL]), came.put)
    forwards = (Forward("db", target, "*", 1), Forward("other", target, "*", 2))
    scout.begin(1, forwards)
    first = {(found.forward.name, found.code) for found in (came.get(timeout=20), came.get(timeout=20))}
    assert first == {("db", "forward.unreachable"), ("other", "forward.not-allowed")}
    with socket.create_server((LITERAL, port)):
        found = came.get(timeout=20)
        while found.code is not None:
            assert found.forward.name == "db"
            found = came.get(timeout=20)
        assert (found.place, found.address) == ((LITERAL, port), LITERAL)
        wait_until(lambda: "scout" not in {one.name for one in threading.enumerate()})


def test_forward_when_no_thread_is_left_to_look_into_it_then_told_and_the_door_is_open(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device at its limit of threads keeps its agent, and its door."""
    begin = threading.Thread.start

    def no_scout(thread: threading.Thread) -> None:
        if thread.name == "scout":
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", no_scout)
    mine = Service(b"mine")
    stage = stages.stage({"one": AllowedForward(mine.target)}, {"one": mine.target})
    stage.open()
    assert stage.told().code == "forward.unreachable"
    assert stage.door_answers()


def test_scout_when_it_is_stopped_then_it_tells_nothing_more() -> None:
    """A tunnel that is gone is told about by nobody, and no thread stays."""
    target = f"tcp:{LITERAL}:{free_port()}"
    came: queue.SimpleQueue[Found] = queue.SimpleQueue()
    scout = Scout({"db": AllowedForward(target)}, Resolver([LITERAL]), came.put)
    scout.begin(1, (Forward("db", target, "*", 1),))
    came.get(timeout=20)
    scout.stop()
    wait_until(lambda: "scout" not in {one.name for one in threading.enumerate()})
    assert came.empty()


# A connection test


@pytest.mark.feature("T9")
def test_connection_test_when_the_target_greets_then_each_step_is_timed_and_the_banner_is_told(tmp_path: Path) -> None:
    """What the console shows: address, steps, and the printable part of what came first."""
    service = Service(b"220 mail\x00\r\n")
    edge, came = edge_that_tests(tmp_path, {"mail": AllowedForward(service.target)})
    edge.rehearse(CommandId(new_id("c")), ForwardTest("mail"))
    last = over(came)
    assert last.outcome is not None
    assert last.outcome.code is None
    result = last.outcome.result or {}
    assert (result["target"], result["address"], result["banner"]) == (service.target, LITERAL, "220 mail")
    assert [(one["step"], one["code"]) for one in result["steps"]] == [(step, None) for step in STEPS]
    assert all(isinstance(one["ms"], int) for one in result["steps"])
    edge.stop()


@pytest.mark.feature("T9")
@pytest.mark.parametrize(
    ("target", "step", "code"),
    [
        ("", "allow", "forward.not-allowed"),
        ("tcp:no-such-host.invalid:80", "resolve", "forward.unresolved"),
        ("tcp:localhost:80", "resolve", "forward.address-not-allowed"),
        ("closed", "connect", "forward.unreachable"),
    ],
)
def test_connection_test_when_a_step_fails_then_it_is_the_last_and_has_its_code(
    tmp_path: Path, target: str, step: str, code: str
) -> None:
    """Each of the ways in which a target cannot be reached has its own step and code."""
    at = f"tcp:{LITERAL}:{free_port()}" if target == "closed" else target
    edge, came = edge_that_tests(tmp_path, {"db": AllowedForward(at)} if at else {})
    edge.rehearse(CommandId(new_id("c")), ForwardTest("db"))
    last = over(came)
    assert last.outcome is not None
    assert last.outcome.code == code
    assert last.rehearsed.steps[-1].step == step
    edge.stop()


@pytest.mark.feature("T9")
def test_command_at_the_device_when_a_target_is_tested_then_steps_and_a_sentence(tmp_path: Path) -> None:
    """Without an agent, without a console: what a person at the device needs."""
    service = Service(b"SSH-2.0-switch\r\n")
    config = tmp_path / "agent.toml"
    config.write_text(f'[forwards]\nswitch = "{service.target}"\ngone = "tcp:{LITERAL}:{free_port()}"\n')
    listed, tested, gone = (agent(config, "forwards", *words) for words in ((), ("switch",), ("gone",)))
    assert f"{service.target}" in listed.stdout
    assert (tested.returncode, tested.stdout.count("ok")) == (0, 4)
    assert 'It says: "SSH-2.0-switch"' in tested.stdout
    assert gone.returncode == 1
    assert "forward.unreachable" in gone.stdout


def agent(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "doorward_agent", "--config", str(config), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def edge_that_tests(
    folder: Path, allowed: dict[str, AllowedForward]
) -> tuple[RehearsalEdge, "queue.SimpleQueue[Event]"]:
    """Make the edge that tests."""
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    return RehearsalEdge(Config(state_dir=folder, forwards=allowed), folder, came.put), came


def over(came: "queue.SimpleQueue[Event]") -> RehearsalTold:
    """Wait for the end of a test."""
    while True:
        event = came.get(timeout=20)
        assert isinstance(event, RehearsalTold)
        if event.outcome is not None:
            return event


def test_trial_when_the_first_address_may_not_be_then_the_next_that_may_is_taken() -> None:
    """Of several addresses the first that is allowed; nobody is asked twice."""

    def lookup(_host: str, port: int) -> Sequence[Address]:
        return [*socket.getaddrinfo("127.0.0.1", port), *socket.getaddrinfo("192.0.2.9", port)]

    trial = TargetTrial("db", None, {"db": AllowedForward("tcp:db.plant.example:5432")}, lookup)
    assert [one.address for one in trial.run(with_banner=False)] == ["", "192.0.2.9", "192.0.2.9"]
