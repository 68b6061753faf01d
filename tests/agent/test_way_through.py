"""The agent's whole way with real parts: ask, order, runner, tunnel, records, receipt."""

import pytest

from tests.agent.conftest import Scene
from tests.agent.scripted import port_of_door, tunnel_children
from tests.agent.tunnels import TUNNELS
from tests.parts.waiting import wait_until


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_order_when_it_opens_then_door_answers_through_relay_and_shut_leaves_nothing(running: Scene) -> None:
    """An order opens the door at the relay's port, another shuts it, and nothing is left."""
    body = running.open()
    console = running.console
    assert port_of_door(console.port) == b"SSH-2.0-Door\r\n"
    console.shut(body.session)
    console.wait_for_state("SHUT")
    assert port_of_door(console.port) == b""
    assert running.agent is not None
    assert tunnel_children(running.agent.pid) == []
    assert running.runner.verbs == ["order", "close"]
    wait_until(lambda: "door.closed" in console.verbs())
    assert console.verbs() == [
        "agent.started", "order.accepted", "door.opening", "door.opened", "order.accepted", "door.closing", "door.closed",
    ]  # fmt: skip
    console.receipt(7)
    wait_until(lambda: running.status()["journal"]["receipted"] == 7, what="the receipt")
