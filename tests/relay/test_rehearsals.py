"""Rehearsals at a relay: a device is admitted, and gets nothing."""

import queue
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from doorward_agent.config import Config
from doorward_agent.edges.rehearsing import RehearsalEdge
from doorward_agent.events import Event, RehearsalTold
from doorward_protocol.ids import CommandId
from doorward_protocol.orders import RelayRoute
from doorward_protocol.rehearsal import STEPS, Rehearsal
from doorward_relay.effects import Live
from doorward_relay.ledger import Ledger
from doorward_relay.principals import LISTENS_NOWHERE, principals_line
from doorward_relay.view import View
from doorward_relay.watch import Known, look

from tests.agent.tunnels import TUNNELS
from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.relay.conftest import Door
from tests.relay.relaying import TUNNEL_USER, Console, Device, Relay, listeners_on, new_id
from tests.relay.test_ledger import grant as some_grant

pytestmark = pytest.mark.feature("B10")
BINDS = ("*", "", "localhost", "127.0.0.1", "0.0.0.0", "[::1]")


@pytest.mark.threat("rehearsal-listens")
def test_rehearsal_when_any_port_is_asked_for_then_the_relay_refuses_it(
    console: Console, dial: Callable[[str], Device]
) -> None:
    """The device is admitted by its certificate, and no spelling of any port is given to it."""
    granted = console.granted(1, forwards=())
    device = dial(granted.session)
    client = device.dial()
    ours, other = console.relay.ports[0], free_port()
    asked = [f"{bind}:{port}" for port in (ours, other) for bind in BINDS]
    dead = [LISTENS_NOWHERE, "*:1", "localhost:1", "*:0", "localhost:0"]
    given = [one for one in (*asked, *dead) if device.ask("forward", "-R", f"{one}:127.0.0.1:9") == 0]
    assert given == []
    assert (listeners_on(ours), listeners_on(other)) == ([], [])
    assert client.is_running


def test_rehearsal_when_a_door_is_open_beside_it_then_neither_notices(
    console: Console, dial: Callable[[str], Device], door: Callable[..., Door]
) -> None:
    """The live session keeps port, tunnel and probe; the rehearsal is no door to be asked, and ends at a word."""
    live = console.granted(console.relay.ports[0])
    device = dial(live.session)
    device.dial()
    assert device.forward(console.relay.ports[0], door(live.banner).port) == 0
    console.wait_for_verb("door.answered", live.session)

    rehearsal = console.granted(1, forwards=())
    second = dial(rehearsal.session)
    second.dial()
    assert second.forward(console.relay.ports[0], 9) != 0
    assert second.hello()["code"] == "relay.grant-ended"
    assert console.call("POST", f"/v1/probe/{rehearsal.session}").json()["code"] == "relay.grant-ended"
    assert console.end(rehearsal.session).json() == {"session": rehearsal.session, "closed": True, "ports_free": True}
    assert console.call("POST", f"/v1/probe/{live.session}").json()["open"] is True
    assert console.verbs(live.session)[-2:] == ["tunnel.up", "door.answered"]
    assert "tunnel.up" not in console.verbs(rehearsal.session)


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_agent_when_it_rehearses_then_every_step_goes_well_at_each_kind_of_relay(
    relay: Relay, console: Console, dial: Callable[[str], Device], scratch: Path, tunnel: str
) -> None:
    """The agent's own edge against the relay as it is installed, with a grant as the signer makes it."""
    granted = console.granted(1, forwards=())
    device = dial(granted.session)
    state, came = scratch / "state", queue.SimpleQueue[Event]()
    state.mkdir()
    write_whole(state / "tunnel_key", (scratch / "device_key").read_bytes(), 0o600)
    edge = RehearsalEdge(Config(state_dir=state, tunnel=tunnel), state, came.put)
    route = RelayRoute(
        console.relay_id, "managed", "127.0.0.1", relay.ssh_port, TUNNEL_USER, (relay.line.ssh_host_key,),
        device.certificate,
    )  # fmt: skip
    edge.rehearse(CommandId(new_id("c")), Rehearsal(granted.session, relay.ports[0], (route,)))
    told = [came.get(timeout=30) for _ in range(len(STEPS) + 1)]
    last = told[-1]
    assert isinstance(last, RehearsalTold)
    assert [(one.step, one.code) for one in last.rehearsed.steps] == [(name, None) for name in STEPS]
    edge.stop()


def test_rehearsal_when_its_grant_has_ended_then_nobody_is_admitted(
    console: Console, dial: Callable[[str], Device]
) -> None:
    """What ended is not admitted again, by its certificate neither."""
    rehearsal = console.granted(1, forwards=())
    console.end(rehearsal.session)
    device = dial(rehearsal.session)
    assert "Permission denied" in device.attempt("-N", device.target).stderr.decode()
    assert console.put(console.grant(1, forwards=(), session=rehearsal.session)).json()["code"] == "grant.session-ended"


def test_line_when_a_grant_has_no_forward_then_it_names_a_dead_place() -> None:
    """A line without ``permitlisten`` would give every port."""
    line = principals_line(replace(some_grant(), forwards=()), "hello")
    assert f'permitlisten="{LISTENS_NOWHERE}"' in line


def test_look_when_only_a_rehearsal_is_live_then_no_door_was_open() -> None:
    """Its coming and going are in the history by themselves; "all doors closed" would be said each night."""
    granted = replace(some_grant(), forwards=())
    ledger = Ledger(live={granted.session: Live(granted, "digest")})
    seen = look(Known(is_shut=True), View((), (), ()), ledger, now=0)
    assert seen.known.is_shut
    assert look(seen.known, View((), (), ()), Ledger(), now=1).effects == ()
