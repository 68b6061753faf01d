"""The agent's own tunnel against a real managed relay, whoever dials."""

import contextlib
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from doorward_agent import events
from doorward_agent.config import AllowedForward, Config
from doorward_agent.contracts import Dial
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.orders import Forward, RelayRoute

from tests.agent.scripted import tunnel_children
from tests.agent.tunnels import TUNNELS
from tests.parts.files import write_whole
from tests.parts.ports import is_listening
from tests.parts.waiting import wait_until
from tests.relay.conftest import Door
from tests.relay.relaying import TUNNEL_USER, Console, Device, Relay

pytestmark = pytest.mark.parametrize("tunnel", TUNNELS)


class Agent:
    """A tunnel edge with the key of a device; each has folders of its own, as two agents have."""

    def __init__(self, relay: Relay, tunnel: str, folder: Path, forwards: Mapping[str, AllowedForward] = {}) -> None:
        folder.mkdir()
        write_whole(folder / "tunnel_key", (folder.parent / "device_key").read_bytes(), 0o600)
        self.relay = relay
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        config = Config(state_dir=folder, tunnel=tunnel, forwards=forwards)
        self.edge = TunnelEdge(config, folder, self.events.put)

    def open(self, console: Console, grant: Grant, device: Device, door_port: int, *named: Forward) -> Event:
        """Dial for a grant and ask for its ports, or for the first of them and ``named``; gives how it went."""
        route = RelayRoute(
            console.relay_id, "managed", "127.0.0.1", self.relay.ssh_port, TUNNEL_USER,
            (self.relay.line.ssh_host_key,), device.certificate,
        )  # fmt: skip
        forwards = tuple(Forward(one.name, "ssh", one.bind, one.port) for one in grant.forwards)
        self.edge.open(Dial(1, grant.session, route, (forwards[0], *named) if named else forwards))
        self.edge.forward(1, door_port)
        return self.events.get(timeout=30)


@pytest.mark.feature("B5", "E9")
def test_agent_when_an_old_tunnel_is_frozen_then_the_new_one_gets_its_port(
    relay: Relay,
    console: Console,
    dial: Callable[[str], Device],
    door: Callable[..., Door],
    scratch: Path,
    tunnel: str,
) -> None:
    """Newest wins: a refused forward says hello, the relay frees the port, and the same connection gets it."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    old, new = (Agent(relay, tunnel, scratch / name) for name in ("old", "new"))
    assert old.open(console, grant, device, 9) == events.TunnelOpened(1)
    (frozen,) = tunnel_children(os.getpid())
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert new.open(console, grant, device, behind.port) == events.TunnelOpened(1)
        console.wait_for_verb("tunnel.replaced", grant.session)
        console.wait_for_verb("door.answered", grant.session)
    finally:
        os.kill(frozen, signal.SIGCONT)
        old.edge.stop()
        new.edge.stop()


def test_agent_when_its_grant_has_ended_then_the_tunnel_is_lost_and_the_next_is_not_admitted(
    relay: Relay,
    console: Console,
    dial: Callable[[str], Device],
    door: Callable[..., Door],
    scratch: Path,
    tunnel: str,
) -> None:
    """The relay's end of a session ends the tunnel, and its certificate opens nothing any more."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    agent = Agent(relay, tunnel, scratch / "agent")
    assert agent.open(console, grant, device, behind.port) == events.TunnelOpened(1)
    console.wait_for_verb("door.answered", grant.session)
    assert console.end(grant.session).json()["ports_free"] is True
    assert agent.events.get(timeout=10) == events.TunnelFailed(1, "tunnel.lost")
    assert agent.open(console, grant, device, behind.port) == events.TunnelFailed(1, "tunnel.not-admitted")
    wait_until(lambda: tunnel_children(os.getpid()) == [])
    agent.edge.stop()


def test_agent_when_a_port_is_not_granted_then_the_relays_own_reason_comes_along(
    relay: Relay, console: Console, dial: Callable[[str], Device], scratch: Path, tunnel: str
) -> None:
    """Another device's port is refused, and why is what the relay says."""
    grant, other = console.granted(relay.ports[0]), console.grant(relay.ports[1])
    device = dial(grant.session)
    agent = Agent(relay, tunnel, scratch / "agent")
    found = agent.open(console, other, device, 9)
    assert isinstance(found, events.TunnelFailed)
    assert found.code == "tunnel.port-refused"
    assert found.relay_code is not None
    agent.edge.stop()


@pytest.mark.feature("R6")
def test_agent_when_it_has_named_forwards_then_the_relay_gives_what_its_grant_says_and_ends_all_of_it(
    relay: Relay,
    console: Console,
    dial: Callable[[str], Device],
    door: Callable[..., Door],
    scratch: Path,
    tunnel: str,
) -> None:
    """A port of its own, on the loopback where the grant says so; one that the grant has not is refused alone; an end frees every port."""
    first, second, third = relay.ports[:3]
    both = (GrantedForward("ssh", "*", first), GrantedForward("database", "localhost", second))
    grant = console.granted(first, forwards=both)
    device, behind = dial(grant.session), door(grant.banner)
    with socket.create_server(("127.0.0.1", 0)) as service:
        target = f"tcp:127.0.0.1:{service.getsockname()[1]}"
        allowed = {name: AllowedForward(target) for name in ("database", "other")}
        agent = Agent(relay, tunnel, scratch / "agent", allowed)
        named = (Forward("database", target, "localhost", second), Forward("other", target, "localhost", third))
        assert agent.open(console, grant, device, behind.port, *named) == events.TunnelOpened(1)
        told = {event.forward.name: event for event in (agent.events.get(timeout=40), agent.events.get(timeout=40))}  # type: ignore[union-attr]  # compared below
        assert told["database"] == events.ForwardTold(1, named[0], "127.0.0.1")
        assert told["other"].code == "forward.port-refused"  # type: ignore[union-attr]  # as above
        console.wait_for_verb("door.answered", grant.session)
        greeter = threading.Thread(target=_greet, args=(service,), daemon=True)
        greeter.start()
        with socket.create_connection(("127.0.0.1", second), 20) as visitor:
            visitor.settimeout(20)
            assert visitor.recv(10) == b"here"
            assert console.wait_for_verb("visitor.came", grant.session).fact.data["port"] == second
        assert not is_listening(second, "127.0.0.2")
        assert not is_listening(third)
        assert console.end(grant.session).json()["ports_free"] is True
        assert not any(is_listening(port) for port in (first, second, third))
        service.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who accepts
        greeter.join(5)
    agent.edge.stop()


def _greet(service: socket.socket) -> None:
    """Greet whoever comes, the agent's own looks before the forward among them, and let them stay."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stay:
        while True:
            came = stay.enter_context(service.accept()[0])
            with contextlib.suppress(OSError):
                came.sendall(b"here")
