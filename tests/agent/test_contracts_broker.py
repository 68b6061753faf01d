"""``doorward_agent.contracts`` kept by both: the edges in memory, which simulated devices have, and the real ones; the broker.

Each test is one promise, and runs against either. What a test does to the world around an edge (a broker that goes away) is a
bench's: one for each kind.
"""

import queue
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import paho.mqtt.client as mqtt
import pytest
from doorward_agent import contracts, events
from doorward_agent.edges.broker import BrokerAddress, BrokerEdge
from doorward_agent.events import Event
from doorward_protocol.ids import DeviceId
from doorward_protocol.topics import topic
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.mosquitto import Broker
from tests.parts.waiting import wait_until
from tests.worlds.device import WorldBroker

pytestmark = pytest.mark.feature("E9")

DEVICE: Final = DeviceId("d-aaaaaaaaaaaaaaaa")


class BrokerBench(Protocol):
    """A broker edge, and the other side of it."""

    @property
    def edge(self) -> contracts.Broker: ...

    def next(self) -> Event: ...
    def is_silent(self) -> bool: ...
    def stop(self) -> None: ...
    def send(self, leaf: str, payload: bytes) -> None: ...
    def heard(self) -> list[tuple[str, bytes]]: ...


@dataclass
class BrokerInMemory:
    came: deque[Event] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.edge = WorldBroker(self.came)

    def next(self) -> Event:
        return self.came.popleft()

    def is_silent(self) -> bool:
        return not self.came

    def stop(self) -> None:
        self.edge.drop()

    def send(self, leaf: str, payload: bytes) -> None:
        if self.edge.generation is not None:
            self.came.append(events.MessageArrived(leaf, payload))

    def heard(self) -> list[tuple[str, bytes]]:
        return self.edge.published


class RealBroker:
    def __init__(self, broker: Broker, folder: Path) -> None:
        certificate, key = broker.client(DEVICE).write(folder, "device")
        address = BrokerAddress(broker.host, broker.port, broker.ca_file, certificate, key, keepalive_s=30)
        self._came: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._heard: list[tuple[str, bytes]] = []
        self._broker = broker
        self.edge = BrokerEdge(DEVICE, address, self._came.put)
        self._console = self._replica(folder)

    def _replica(self, folder: Path) -> mqtt.Client:
        certificate, key = self._broker.client("worker-1").write(folder, "worker-1")
        context = ssl.create_default_context(cafile=str(self._broker.ca_file))
        context.load_cert_chain(certificate, key)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="worker-1")
        client.tls_set_context(context)
        is_there = threading.Event()
        client.on_subscribe = lambda *_: is_there.set()
        client.on_message = lambda _client, _data, one: self._heard.append(
            (one.topic.rpartition("/")[2], bytes(one.payload))
        )
        client.on_connect = lambda client, *_: client.subscribe(topic(DEVICE, "#"), 1)
        client.connect(self._broker.host, self._broker.port)
        client.loop_start()
        assert is_there.wait(10)
        return client

    def next(self) -> Event:
        return self._came.get(timeout=20)

    def is_silent(self) -> bool:
        return self._came.empty()

    def stop(self) -> None:
        self._broker.stop()

    def send(self, leaf: str, payload: bytes) -> None:
        self._console.publish(topic(DEVICE, leaf), payload, qos=1).wait_for_publish(10)

    def heard(self) -> list[tuple[str, bytes]]:
        return [one for one in self._heard if one[0] != "presence"]

    def close(self) -> None:
        self.edge.disconnect()
        self._console.disconnect()
        self._console.loop_stop()
        self._console.on_message = self._console.on_connect = self._console.on_subscribe = None


@pytest.fixture
def broker_bench(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerBench]:
    if kind == "in memory":
        yield BrokerInMemory()
        return
    real = RealBroker(request.getfixturevalue("broker"), tmp_path)
    yield real
    real.close()


def test_broker_when_connected_then_each_side_hears_the_other_until_the_broker_goes(broker_bench: BrokerBench) -> None:
    """Each dial is answered with its own number; a record's delivery is told with it; what goes away is told once, and then nothing is said."""
    edge = broker_bench.edge
    edge.publish("ask", b"too early")
    edge.connect(1)
    assert broker_bench.next() == events.BrokerConnected(1)
    edge.publish("ask", b"which order?")
    edge.publish("record", b"the seventh", record=7)
    assert broker_bench.next() == events.RecordDelivered(1, 7)
    wait_until(lambda: len(broker_bench.heard()) == 2, 10, "both to be heard")
    assert broker_bench.heard() == [("ask", b"which order?"), ("record", b"the seventh")]
    broker_bench.send("order", b"open")
    assert broker_bench.next() == events.MessageArrived("order", b"open")
    broker_bench.stop()
    lost = broker_bench.next()
    assert isinstance(lost, events.BrokerLost)
    assert lost.generation == 1
    edge.publish("record", b"nobody hears it", record=8)
    edge.connect(2)
    lost = broker_bench.next()
    assert isinstance(lost, events.BrokerLost)
    assert lost.generation == 2
    assert broker_bench.is_silent()
