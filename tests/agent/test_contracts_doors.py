"""``doorward_agent.contracts`` kept by both: the edges in memory, which simulated devices have, and the real ones; runner and tunnel.

Each test is one promise, and runs against either. What a test does to the world around an edge (a relay that does not admit) is a
bench's: one for each kind.
"""

import queue
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import pytest
from doorward_agent import contracts, events
from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges.runner import RunnerEdge
from doorward_agent.events import Event
from doorward_protocol.ids import DeviceId, SessionId
from doorward_protocol.orders import Forward

from tests.agent.scripted import ScriptedRunner, new_id
from tests.agent.tunnels import Bench
from tests.parts.ports import free_port
from tests.protocol import cast
from tests.worlds.device import World, WorldRunner, WorldTunnel

pytestmark = pytest.mark.feature("E9")

DEVICE: Final = DeviceId("d-aaaaaaaaaaaaaaaa")


# -- the runner


class RunnerBench(Protocol):
    """A runner edge, and the runner behind it."""

    @property
    def edge(self) -> contracts.Runner: ...

    def next(self) -> Event: ...
    def refuse(self, code: str) -> None: ...
    def go_away(self) -> None: ...
    def door_dies(self) -> None: ...


@dataclass
class RunnerInMemory:
    came: deque[Event] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.edge = WorldRunner(self.came)

    def next(self) -> Event:
        return self.came.popleft()

    def refuse(self, code: str) -> None:
        self.edge.refusals.append(code)

    def go_away(self) -> None:
        self.edge.is_there = False

    def door_dies(self) -> None:
        self.edge.die()


class RunnerOnASocket:
    def __init__(self, folder: Path) -> None:
        self._came: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._runner = ScriptedRunner(folder)
        config = Config(runner="socket", runner_socket=self._runner.path, runner_nonce_file=self._runner.nonce_file)
        self.edge = RunnerEdge(config, self._came.put)

    def next(self) -> Event:
        return self._came.get(timeout=20)

    def refuse(self, code: str) -> None:
        self._runner.refuse_with.put(code)

    def go_away(self) -> None:
        self._runner.path.unlink()

    def door_dies(self) -> None:
        self._runner.close_door()


@pytest.fixture
def runner_bench(kind: str, tmp_path: Path) -> Iterator[RunnerBench]:
    if kind == "in memory":
        yield RunnerInMemory()
        return
    real = RunnerOnASocket(tmp_path)
    yield real
    real.edge.stop()
    real.door_dies()


def test_runner_when_a_door_is_ordered_shut_and_ordered_again_then_each_call_is_answered_once(
    runner_bench: RunnerBench,
) -> None:
    """A second order for the same session keeps its port; a door that died is told when it is asked for, and seen at once."""
    edge, session = runner_bench.edge, SessionId(cast.SESSION)
    envelope = cast.Draft().raw()
    edge.report()
    told = runner_bench.next()
    assert isinstance(told, events.RunnerReported)
    assert (told.session, told.port, told.code) == (None, None, None)
    port = free_port()
    for asked in (port, free_port()):
        edge.open_door(session, envelope, asked)
        opened = runner_bench.next()
        assert isinstance(opened, events.DoorOpened)
        assert (opened.session, opened.port) == (session, port)
    assert edge.has_listener(port)
    edge.report()
    told = runner_bench.next()
    assert isinstance(told, events.RunnerReported)
    assert (told.session, told.port, told.code) == (session, port, None)
    runner_bench.door_dies()
    assert not edge.has_listener(port)
    edge.close_door(session)
    assert runner_bench.next() == events.DoorClosed(session)
    edge.close_door(session)
    assert runner_bench.next() == events.DoorClosed(session)


def test_runner_when_it_says_no_or_is_not_there_then_each_call_says_so_with_its_code(runner_bench: RunnerBench) -> None:
    """A refusal is the runner's own code; one that is away is ``runner.unavailable``, whatever is asked of it."""
    edge, session = runner_bench.edge, SessionId(cast.SESSION)
    envelope = cast.Draft().raw()
    runner_bench.refuse("order.stale-nonce")
    edge.open_door(session, envelope, free_port())
    assert runner_bench.next() == events.DoorFailed(session, "order.stale-nonce")
    runner_bench.go_away()
    edge.open_door(session, envelope, free_port())
    assert runner_bench.next() == events.DoorFailed(session, "runner.unavailable")
    edge.close_door(session)
    assert runner_bench.next() == events.DoorNotClosed(session, "runner.unavailable")
    edge.report()
    assert runner_bench.next() == events.RunnerReported(None, None, "runner.unavailable")
    edge.tell_command()
    assert runner_bench.next() == events.CommandTold("", None, "runner.unavailable")
    edge.tell_settings()
    assert runner_bench.next() == events.SettingsTold("", "runner.unavailable")


# -- the tunnel


@dataclass
class TunnelInMemory:
    came: deque[Event] = field(default_factory=deque)
    session: SessionId = field(default_factory=lambda: SessionId(new_id("s")))
    port: int = 22_001
    door_port: int = 40_000

    def __post_init__(self) -> None:
        self.edge = WorldTunnel(self.came)

    def next(self) -> Event:
        return self.came.popleft()

    def dial(self, attempt: int = 1) -> None:
        route = World().body().relays[0]
        self.edge.open(Dial(attempt, self.session, route, (Forward("ssh", "ssh", "localhost", self.port),)))


@pytest.fixture
def tunnel_bench(kind: str, request: pytest.FixtureRequest) -> TunnelInMemory | Bench:
    made: TunnelInMemory | Bench = TunnelInMemory() if kind == "in memory" else request.getfixturevalue("bench")
    return made


def not_admitted(bench: TunnelInMemory | Bench) -> None:
    """Let the relay not know the session."""
    if isinstance(bench, Bench):
        bench.relay.admit(new_id("s"), bench.port)
    else:
        bench.edge.failures.append("tunnel.not-admitted")


def test_tunnel_when_it_is_dialled_led_to_a_door_and_ended_then_each_is_told_with_its_attempt(
    tunnel_bench: TunnelInMemory | Bench,
) -> None:
    """It is up once it knows the door; an end is told also where nothing is, and one that is not admitted has its code."""
    edge = tunnel_bench.edge
    edge.end(7)
    assert tunnel_bench.next() == events.TunnelEnded(7)
    tunnel_bench.dial(1)
    edge.forward(1, tunnel_bench.door_port)
    assert tunnel_bench.next() == events.TunnelOpened(1)
    edge.end(1)
    assert tunnel_bench.next() == events.TunnelEnded(1)
    not_admitted(tunnel_bench)
    tunnel_bench.dial(2)
    assert tunnel_bench.next() == events.TunnelFailed(2, "tunnel.not-admitted")
