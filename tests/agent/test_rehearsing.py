"""The rehearsal edge against a real sshd as relay, by both ways to dial, and the command at the device."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doorward_agent.config import Config
from doorward_agent.edges.rehearsing import RehearsalEdge
from doorward_agent.events import Event, RehearsalTold
from doorward_protocol.asked import Asked
from doorward_protocol.commands import RunCommand
from doorward_protocol.ids import CommandId, RelayId, SessionId
from doorward_protocol.orders import RelayRoute
from doorward_protocol.rehearsal import STEPS, Rehearsal, arguments_from_rehearsal

from tests.agent.conftest import Scene
from tests.agent.scripted import new_id, now_ms, ssh_line, tunnel_children
from tests.agent.tunnels import TUNNELS, Bench
from tests.parts.ports import free_port, is_listening
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.feature("B10")


@pytest.fixture(params=TUNNELS)
def tunnel(request: pytest.FixtureRequest) -> str:
    """Who dials: every test of the edge runs over both."""
    return str(request.param)


@dataclass(slots=True)
class Stage:
    """A rehearsal edge beside a tunnel edge, and what it told."""

    bench: Bench
    tunnel: str
    edge: RehearsalEdge = field(init=False)
    came: "queue.SimpleQueue[Event]" = field(default_factory=queue.SimpleQueue)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.wait_at_most(40)  # as a busy machine needs

    def wait_at_most(self, limit_s: int) -> None:
        """Begin anew with a limit for what does not answer."""
        config = Config(state_dir=self.bench.state_dir, tunnel=self.tunnel, tunnel_limit_s=limit_s)
        self.edge = RehearsalEdge(config, self.bench.run_dir, self.came.put)

    def route(self, **changes: Any) -> RelayRoute:
        return self.bench.relay.route(**{"certificate": self.bench.certificate(), **changes})

    def rehearse(self, *routes: RelayRoute) -> None:
        self.edge.rehearse(CommandId(new_id("c")), Rehearsal(self.bench.session, self.port, routes or (self.route(),)))

    def next(self) -> RehearsalTold:
        event = self.came.get(timeout=50)
        assert isinstance(event, RehearsalTold)
        return event

    def told(self, *routes: RelayRoute) -> tuple[list[str], RehearsalTold]:
        """Rehearse, and give the step that each event before the last is about, and the last event."""
        self.rehearse(*routes)
        seen: list[str] = []
        while (event := self.next()).outcome is None:
            seen.append(event.rehearsed.steps[-1].step)
        return seen, event


@pytest.fixture
def stage(bench: Bench, tunnel: str) -> Iterator[Stage]:
    """A relay that admits the session and names another port than the rehearsal's."""
    made = Stage(bench, tunnel)
    yield made
    made.edge.stop()


def result_of(event: RehearsalTold) -> Mapping[str, Any]:
    assert event.outcome is not None
    assert event.outcome.result is not None
    return event.outcome.result


def test_rehearsal_when_the_way_is_free_then_every_step_is_timed_and_nothing_is_left(stage: Stage, tunnel: str) -> None:
    """A refused port is what goes well; no child, no thread and no listener stay."""
    seen, last = stage.told()
    result = result_of(last)
    assert seen == list(STEPS)
    assert [(one["step"], one["code"]) for one in result["steps"]] == [(name, None) for name in STEPS]
    assert all(isinstance(one["ms"], int) for one in result["steps"])
    assert (result["relay"], result["way"]) == (stage.bench.relay.id, tunnel)
    assert sum(one["ms"] for one in result["steps"][2:]) <= result["opens_in_ms"] + 3  # each is rounded
    assert not is_listening(stage.port)
    wait_until(lambda: "rehearsal" not in {one.name for one in threading.enumerate()})
    assert tunnel_children(os.getpid()) == []


@pytest.mark.feature("E9")
def test_rehearsal_when_it_cannot_begin_then_it_ends_as_interrupted_and_the_next_one_goes_on(stage: Stage) -> None:
    """No room, or no descriptor: that is no reason for an agent to end, and its tunnel with it."""
    in_the_way = stage.bench.run_dir / "rehearsal"
    in_the_way.write_text("")
    _, last = stage.told()
    assert last.outcome is not None
    assert last.outcome.code == "command.interrupted"
    in_the_way.unlink()
    assert result_of(stage.told()[1])["opens_in_ms"] is not None


@pytest.mark.parametrize(
    ("changes", "step", "code"),
    [
        ({"host": "no-such-relay.invalid"}, "resolve", "tunnel.unresolved"),
        ({"port": "closed"}, "connect", "tunnel.unreachable"),
        ({"port": "silent"}, "host-key", "tunnel.timeout"),
        ({"host_keys": "other"}, "host-key", "tunnel.host-key"),
        ({"certificate": "of another session"}, "log-in", "tunnel.not-admitted"),
    ],
)
def test_rehearsal_when_a_step_fails_then_it_is_the_last_and_has_its_code(
    stage: Stage, changes: dict[str, Any], step: str, code: str
) -> None:
    """Where a door would fail, and as what."""
    bench = stage.bench
    if changes == {"port": "silent"}:
        stage.wait_at_most(2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stands_for = {
            "closed": free_port(),
            "silent": silent.getsockname()[1],
            "other": (ssh_line(Ed25519PrivateKey.generate()),),
            "of another session": bench.relay.ca.certificate(bench.key, new_id("s")),
        }
        seen, last = stage.told(stage.route(**{name: stands_for.get(one, one) for name, one in changes.items()}))
    steps = result_of(last)["steps"]
    assert seen == list(STEPS[: STEPS.index(step) + 1])
    assert [one["code"] for one in steps] == [None] * (len(steps) - 1) + [code]
    assert (steps[-1]["step"], result_of(last)["opens_in_ms"]) == (step, None)
    assert last.outcome is not None
    assert last.outcome.code == code
    assert tunnel_children(os.getpid()) == []


@pytest.mark.threat("relay-gives-in-rehearsal")
def test_rehearsal_when_the_relay_grants_the_port_then_it_fails_loudly_and_the_port_is_shut(stage: Stage) -> None:
    """A relay that gives what nobody granted would give it to anybody."""
    stage.bench.relay.admit(stage.bench.session, stage.port)
    seen, last = stage.told()
    assert seen == list(STEPS)
    assert last.outcome is not None
    assert last.outcome.code == "rehearsal.granted"
    wait_until(lambda: not is_listening(stage.port))


def test_rehearsal_when_one_relay_is_away_then_the_next_is_tried(stage: Stage) -> None:
    """A door would open by the second."""
    away = stage.route(port=free_port())._replace(relay=RelayId(new_id("r")))
    seen, last = stage.told(away, stage.route())
    assert seen == ["resolve", "connect", *STEPS]
    assert (result_of(last)["relay"], last.rehearsed.code) == (stage.bench.relay.id, None)


def test_rehearsal_when_a_door_is_open_then_its_tunnel_stays_as_it_is(stage: Stage) -> None:
    """Both dial the same relay at once, with the same key."""
    bench = stage.bench
    bench.open()
    (child,) = tunnel_children(os.getpid())
    _, last = stage.told()
    assert last.rehearsed.code is None
    assert tunnel_children(os.getpid()) == [child]
    assert bench.events.empty()
    with socket.create_connection(("127.0.0.1", bench.port), 5):
        visitor, _ = bench.door.accept()
        visitor.close()


def test_rehearsal_when_another_is_asked_for_then_it_waits_its_turn(stage: Stage) -> None:
    """They share a folder: two at a time would take each other's control socket."""
    for _ in range(2):
        stage.rehearse()
    ended = [event.rehearsed.code for _ in range(2 * (len(STEPS) + 1)) if (event := stage.next()).outcome is not None]
    assert ended == [None, None]


def test_rehearsal_when_the_agent_stops_then_it_ends_and_tells_nothing(stage: Stage) -> None:
    """Whoever starts next says that it was interrupted."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.rehearse(stage.route(port=silent.getsockname()[1]))
        wait_until(lambda: tunnel_children(os.getpid()))
        stage.edge.stop()
    assert tunnel_children(os.getpid()) == []
    told = []
    while not stage.came.empty():
        told.append(stage.next().outcome)
    assert not any(told)


def command(rehearsal: Rehearsal) -> RunCommand:
    asked = Asked("aiko@example.com", now_ms(), "")
    return RunCommand(CommandId(new_id("c")), "rehearse", arguments_from_rehearsal(rehearsal), now_ms() + 60_000, asked)


def program(scene: Scene) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "doorward_agent", "--config", str(scene.config), "rehearse"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def granted(scene: Scene, **changes: Any) -> Rehearsal:
    """Grant the wish of the newest ask."""
    session = SessionId(new_id("s"))
    scene.relay.admit(session, free_port())
    route = scene.relay.route(scene.relay.ca.certificate(scene.seat.tunnel, session), **changes)
    made = Rehearsal(session, free_port(), (route,))
    scene.console.publish(scene.console.order(command(made), part="command"))
    return made


@pytest.mark.parametrize("tunnel", ["ssh"])
def test_command_when_an_agent_runs_then_the_console_is_asked_and_each_step_shown(scene: Scene) -> None:
    """Exit 0 for a door that would open, 1 for one that would not."""
    scene.start()
    for changes, status, words in (
        ({}, 0, "A door would open in "),
        ({"port": free_port()}, 1, "tunnel.unreachable: The device cannot reach"),
    ):
        with program(scene) as shown:
            scene.console.next_ask(len(scene.console.asks), lambda ask: ask.wish == "rehearse")
            granted(scene, **changes)
            said, _ = shown.communicate(timeout=30)
        assert (shown.returncode, words in said) == (status, True), said
        assert said.startswith("resolve ")
    assert scene.agent is not None
    assert scene.agent.is_running


@pytest.mark.parametrize("tunnel", ["ssh"])
def test_command_when_no_agent_runs_then_the_way_of_the_last_rehearsal_is_tried_up_to_the_host_key(
    scene: Scene,
) -> None:
    """What it could not try it says."""
    with program(scene) as shown:
        assert "none has rehearsed here yet" in shown.communicate(timeout=20)[0]
    scene.start()
    granted(scene)
    wait_until(lambda: "command.done" in scene.console.verbs())
    assert scene.agent is not None
    scene.agent.end()
    scene.relay.admit(new_id("s"), free_port())
    with program(scene) as shown:
        said = shown.communicate(timeout=20)[0]
    assert shown.returncode == 1
    assert [line.split()[0] for line in said.splitlines()] == ["No", "resolve", "connect", "host-key", "log-in"]
    assert "only a running agent is given permission" in said


@pytest.mark.parametrize("tunnel", ["ssh"])
def test_agent_when_it_is_killed_in_a_rehearsal_then_its_child_dies_and_the_next_one_tells(scene: Scene) -> None:
    """Nothing of a rehearsal outlives the agent."""
    scene.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        granted(scene, port=silent.getsockname()[1])
        assert scene.agent is not None
        pid = scene.agent.pid
        wait_until(lambda: tunnel_children(pid))
        (child,) = tunnel_children(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{child}").exists())
    scene.start_agent()
    wait_until(lambda: "command.done" in scene.console.verbs())
    done = next(one.fact for one in scene.console.records if one.fact.verb == "command.done")
    assert done.data["code"] == "command.interrupted"
