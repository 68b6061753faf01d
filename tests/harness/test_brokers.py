"""A broker keeps devices apart: Mosquitto as the tests and ``broker-config`` set it up, and what stands in for it in a trial."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from doorward_protocol.topics import ROOT, TO_DEVICE, topic
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.parts.mosquitto import Broker
from tests.parts.ports import is_listening
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.parametrize("broker_kind", ["mosquitto", "trial"])

DEVICE = "d-aaaaaaaaaaaaaaaa"
OTHER = "d-bbbbbbbbbbbbbbbb"


@dataclass
class Heard:
    """What one MQTT client was told."""

    client: mqtt.Client
    connected: threading.Event = field(default_factory=threading.Event)
    subscribed: threading.Event = field(default_factory=threading.Event)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)


@contextmanager
def connected(
    broker: Broker, folder: Path, name: str, client_id: str = "", hears: str | None = None
) -> Iterator[Heard]:
    """Connect a client with the certificate of ``name`` and subscribe it to ``hears``, else to all it can.

    Mosquitto grants a filter for everything and then filters what it delivers; the trial's broker refuses it. So each
    client asks for everything and for what it may hear.
    """
    certificate, key = broker.client(name).write(folder, f"{name}-{client_id}")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
    client.tls_set(str(broker.ca_file), str(certificate), str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    heard = Heard(client)
    own = [f"{ROOT}/#"] if name.startswith("worker") else [topic(name, leaf) for leaf in TO_DEVICE]
    filters = ["#", *own] if hears is None else [hears]

    def on_connect(
        client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _more: Properties | None
    ) -> None:
        heard.connected.set()
        client.subscribe([(one, 1) for one in filters])

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: heard.subscribed.set()
    client.on_message = lambda _client, _data, message: heard.messages.append((message.topic, bytes(message.payload)))
    client.on_disconnect = lambda _client, _data, _flags, code, _more: heard.drops.append(str(code))
    client.connect("localhost", broker.port)
    client.loop_start()
    try:
        assert heard.subscribed.wait(10)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def publish(heard: Heard, device: str, leaf: str, payload: bytes = b"hello") -> None:
    """Publish at least once and wait for the broker's acknowledgement."""
    heard.client.publish(f"doorward/v1/device/{device}/{leaf}", payload, 1).wait_for_publish(10)


def test_broker_when_device_publishes_its_ask_then_a_replica_hears_it(any_broker: Broker, scratch: Path) -> None:
    """What a device writes to its own topic reaches the replicas."""
    with connected(any_broker, scratch, "worker-1") as worker, connected(any_broker, scratch, DEVICE) as device:
        publish(device, DEVICE, "ask")
        wait_until(lambda: worker.messages, what="the ask")
    assert worker.messages == [(f"doorward/v1/device/{DEVICE}/ask", b"hello")]


def test_broker_when_order_is_published_then_only_its_device_hears_it(any_broker: Broker, scratch: Path) -> None:
    """An order reaches the device of its topic and no other, whatever the other subscribed to."""
    with (
        connected(any_broker, scratch, "worker-1") as worker,
        connected(any_broker, scratch, DEVICE) as device,
        connected(any_broker, scratch, OTHER) as other,
    ):
        publish(worker, DEVICE, "order")
        publish(worker, OTHER, "receipt")
        wait_until(lambda: device.messages and other.messages, what="both messages")
    assert [topic for topic, _ in device.messages] == [f"doorward/v1/device/{DEVICE}/order"]
    assert [topic for topic, _ in other.messages] == [f"doorward/v1/device/{OTHER}/receipt"]


@pytest.mark.threat("device-foreign-topics")
def test_broker_when_device_writes_elsewhere_then_nobody_hears_it(any_broker: Broker, scratch: Path) -> None:
    """A device's certificate gives no voice on another device's topics, nor on the console's leaves of its own."""
    with connected(any_broker, scratch, "worker-1") as worker, connected(any_broker, scratch, DEVICE) as device:
        publish(device, OTHER, "ask", b"foreign")
        publish(device, DEVICE, "order", b"own order")
        publish(device, DEVICE, "ask", b"allowed")
        wait_until(lambda: worker.messages, what="the allowed message")
    assert [payload for _, payload in worker.messages] == [b"allowed"]


@pytest.mark.threat("device-foreign-topics")
def test_broker_when_device_takes_anothers_client_id_then_the_other_stays_connected(
    any_broker: Broker, scratch: Path
) -> None:
    """The client id is the certificate's name: nobody throws another off by claiming its id."""
    with (
        connected(any_broker, scratch, "worker-1") as worker,
        connected(any_broker, scratch, DEVICE, client_id=DEVICE) as victim,
        connected(any_broker, scratch, OTHER, client_id=DEVICE),
    ):
        publish(worker, DEVICE, "order")
        wait_until(lambda: victim.messages, what="the order")
        assert victim.drops == []


def test_broker_when_client_has_no_certificate_then_it_is_turned_away(any_broker: Broker) -> None:
    """Without a certificate under the root there is no connection."""
    context = ssl.create_default_context(cafile=str(any_broker.ca_file))
    with (
        socket.create_connection((any_broker.host, any_broker.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        try:
            stream.sendall(HELLO)
            heard = stream.recv(1)  # TLS 1.3 tells a client at its first read
        except (ssl.SSLError, ConnectionError):
            heard = b""
    assert heard == b""


def test_broker_when_stopped_and_started_then_the_same_port_answers(any_broker: Broker) -> None:
    """A test can take the broker away and bring it back."""
    any_broker.stop()
    assert not is_listening(any_broker.port)
    any_broker.start()
    assert is_listening(any_broker.port)


def raw_connection(broker: Broker, scratch: Path, name: str) -> ssl.SSLSocket:
    """Connect with a certificate and say nothing yet."""
    certificate, key = broker.client(name).write(scratch, f"raw-{name}")
    context = ssl.create_default_context(cafile=str(broker.ca_file))
    context.load_cert_chain(certificate, key)
    plain = socket.create_connection((broker.host, broker.port), timeout=10)
    return context.wrap_socket(plain, server_hostname="localhost")


def is_closed(stream: ssl.SSLSocket) -> bool:
    """Read until the other side has closed."""
    stream.settimeout(10)
    try:
        while stream.recv(4096):
            pass
    except (ssl.SSLError, ConnectionError):
        return True
    return True


HELLO = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
"""A CONNECT of MQTT 3.1.1 with a clean session, a keep-alive of a minute and the client id ``x``."""


def connect_with_will(stream: ssl.SSLSocket, name: str, where: str) -> bytes:
    """Say CONNECT with a keep-alive of a second and a Last Will on the topic ``where``; give the answer."""
    parts = (name.encode(), where.encode(), b"gone")
    body = b"\x00\x04MQTT\x04\x0e\x00\x01" + b"".join(struct.pack(">H", len(one)) + one for one in parts)
    stream.sendall(b"\x10" + bytes([len(body)]) + body)
    try:
        return stream.recv(4)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_broker_when_a_device_leaves_a_will_for_another_then_nobody_hears_it(any_broker: Broker, scratch: Path) -> None:
    """A Last Will is a message like any other: it goes where its author may publish, and nowhere else."""
    with connected(any_broker, scratch, "worker-1") as worker:
        for victim in (OTHER, DEVICE):
            with raw_connection(any_broker, scratch, DEVICE) as stream:
                connect_with_will(stream, DEVICE, topic(victim, "presence"))
        wait_until(lambda: worker.messages, what="the will that is allowed")
        assert [where for where, _ in worker.messages] == [topic(DEVICE, "presence")]


def test_broker_when_a_client_falls_silent_then_its_will_is_said(any_broker: Broker, scratch: Path) -> None:
    """A device whose packets vanish is away after one and a half times its keep-alive, although its connection stands."""
    with connected(any_broker, scratch, "worker-1") as worker, raw_connection(any_broker, scratch, DEVICE) as stream:
        assert connect_with_will(stream, DEVICE, topic(DEVICE, "presence"))[3:] == b"\0"
        wait_until(lambda: worker.messages, what="the will")
        assert worker.messages == [(topic(DEVICE, "presence"), b"gone")]


def test_broker_when_a_packet_is_larger_than_any_of_ours_then_its_sender_is_thrown_out(
    any_broker: Broker, scratch: Path
) -> None:
    """Nobody makes the broker hold 200 MB for one message; the others go on."""
    with raw_connection(any_broker, scratch, DEVICE) as stream:
        stream.sendall(HELLO)
        assert stream.recv(4)[3:] == b"\0"
        with suppress(ssl.SSLError, ConnectionError):  # it may hang up while we still write
            stream.sendall(b"\x30\xff\xff\xff\x64" + struct.pack(">H", 3) + b"a/b" + bytes(65_536))
        assert is_closed(stream)
    with connected(any_broker, scratch, OTHER) as device, connected(any_broker, scratch, "worker-1") as worker:
        publish(device, OTHER, "ask")
        wait_until(lambda: worker.messages, what="another device's ask")


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x00" * 20, HELLO[:-1] + b"\xff"]
)
def test_broker_when_somebody_talks_nonsense_then_the_others_go_on(
    any_broker: Broker, scratch: Path, said: bytes
) -> None:
    """What is no CONNECT ends that connection and nothing else."""
    with raw_connection(any_broker, scratch, DEVICE) as stream:
        stream.sendall(said)
        stream.close()
    with connected(any_broker, scratch, OTHER) as device, connected(any_broker, scratch, "worker-1") as worker:
        publish(device, OTHER, "ask")
        wait_until(lambda: worker.messages, what="another device's ask")


def test_broker_when_a_device_never_finishes_its_messages_then_memory_stays(any_broker: Broker, scratch: Path) -> None:
    """QoS 2 lets a client leave 65,535 messages half said; ours are of QoS 1, and nobody gets far with others."""
    payload = bytes(200_000)
    with raw_connection(any_broker, scratch, DEVICE) as stream, suppress(OSError):
        stream.sendall(HELLO)
        assert stream.recv(4)[3:] == b"\0"
        before = any_broker.peak_bytes()
        for number in range(1, 400):
            body = struct.pack(">H", 3) + b"a/b" + struct.pack(">H", number) + payload
            stream.sendall(b"\x34" + length_of(body) + body)
    assert any_broker.peak_bytes() - before < 20_000_000
    with connected(any_broker, scratch, OTHER) as device, connected(any_broker, scratch, "worker-1") as worker:
        publish(device, OTHER, "ask")
        wait_until(lambda: worker.messages, what="another device's ask")


def length_of(body: bytes) -> bytes:
    """Write a remaining length (MQTT 3.1.1, section 2.2.3)."""
    said, left = b"", len(body)
    while left > 127:
        said, left = said + bytes([left % 128 | 128]), left // 128
    return said + bytes([left])


@pytest.mark.parametrize(
    "said",
    [HELLO.replace(b"MQTT", b"MQ\xff\xff"), b"\x10\x02\x00\x04", HELLO.replace(b"MQTT\x04", b"MQTT\x05")],
    ids=["another protocol", "cut short", "version 5"],
)
def test_broker_when_a_connect_cannot_be_read_then_its_connection_is_closed(
    any_broker: Broker, scratch: Path, said: bytes
) -> None:
    """A CONNECT of the right frame and wrong content does not hold a descriptor, not even for a while."""
    with raw_connection(any_broker, scratch, DEVICE) as stream:
        stream.sendall(said)
        assert is_closed(stream)
