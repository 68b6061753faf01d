"""The agent's edge to the broker by itself."""

import queue
import time
from pathlib import Path

import pytest
from doorward_agent.edges.broker import BrokerAddress, BrokerEdge
from doorward_agent.events import BrokerLost, Event
from doorward_protocol.ids import DeviceId

from tests.parts.certificates import make_root
from tests.parts.files import write_whole
from tests.parts.ports import free_port

DEVICE = DeviceId("d-aaaaaaaaaaaaaaaa")


@pytest.mark.feature("B4")
def test_broker_when_a_dial_was_refused_then_the_next_one_does_not_wait_for_it(tmp_path: Path) -> None:
    """connect() is called on the thread that owns the agent's state, once a minute for as long as a broker is away."""
    root = make_root()
    certificate, key = root.intermediate("devices").client(DEVICE).write(tmp_path, "device")
    address = BrokerAddress(
        "127.0.0.1", free_port(), write_whole(tmp_path / "ca.pem", root.pem), certificate, key, keepalive_s=30
    )
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    edge = BrokerEdge(DEVICE, address, came.put)
    for generation in (1, 2, 3):
        started = time.monotonic()
        edge.connect(generation)
        assert time.monotonic() - started < 0.5
        lost = came.get(timeout=10)
        assert isinstance(lost, BrokerLost)
        assert lost.generation == generation
