"""A device that a test scripts: a real MQTT client with its own identity and chain, and no door behind it."""

import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from doorward_protocol.asks import Ask, CommandReport, DoorReport, SettingsReport, bytes_from_ask
from doorward_protocol.commands import RunCommand
from doorward_protocol.digests import Digest
from doorward_protocol.envelope import decode
from doorward_protocol.ids import DeviceId, SessionId
from doorward_protocol.orders import OpenDoor, Order, order_from_payload
from doorward_protocol.receipts import Receipt, receipt_from_payload
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.revisions import NEVER, Revision
from doorward_protocol.signature import KeyRing, SigningKey
from doorward_protocol.topics import topic
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.mosquitto import Broker
from tests.parts.waiting import wait_until


@dataclass
class ScriptedDevice:
    """What the stand-in holds; it accepts every order and does nothing by itself."""

    device: DeviceId
    key: SigningKey = field(default_factory=SigningKey.generate)
    boot: str = "b" * 32
    count: int = 0
    nonce: str = "n" * 22
    runner_nonce: str | None = "r" * 22
    state: str = "SHUT"
    session: SessionId | None = None
    held: Revision = NEVER
    digest: Digest | None = None
    command: CommandReport = field(default_factory=CommandReport)
    verbs: tuple[str, ...] | None = None
    head: Head = field(default_factory=Head)
    heads: dict[str, Head] = field(default_factory=dict)
    envelopes: list[bytes] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    record_key: str | None = None
    client: mqtt.Client | None = None
    subscribed: threading.Event = field(default_factory=threading.Event)

    def ask_bytes(self, **changes: Any) -> bytes:
        """Write the next ask."""
        self.count += 1
        values: dict[str, Any] = {
            "device": self.device, "boot": self.boot, "count": self.count, "nonce": self.nonce,
            "runner_nonce": self.runner_nonce, "clock_at": int(time.time() * 1000), "uptime_s": 100, "agent": "0.1.0",
            "facts": {"hostname": "press"}, "door": DoorReport(self.state, self.session, self.held, self.digest, None),
            "settings": SettingsReport(NEVER, None, {}), "journal_first": min(1, self.head.n), "journal": self.head,
            "command": self.command, "verbs": self.verbs,
        }  # fmt: skip
        return bytes_from_ask(Ask(**(values | changes)))

    def ask(self, **changes: Any) -> None:
        self.send("ask", self.ask_bytes(**changes))

    def record(self, verb: str, session: str | None = None, /, **data: Any) -> bytes:
        """Continue the journal; sends nothing."""
        moment = Moment(int(time.time() * 1000), self.boot, 1000)
        payload = next_payload(
            f"device:{self.device}", self.head, moment, Fact(verb, session, self.device, data), dict(self.heads)
        )
        self.head = head_after(payload, self.head)
        self.envelopes.append(self.key.seal("record", payload))
        return self.envelopes[-1]

    def says(self, verb: str, session: str | None = None, /, **data: Any) -> None:
        """Continue the journal and send what was added."""
        self.send("record", self.record(verb, session, **data))

    def send(self, leaf: str, payload: bytes) -> None:
        assert self.client is not None
        sent = self.client.publish(topic(self.device, leaf), payload, qos=1, retain=leaf == "presence")
        sent.wait_for_publish(5)

    def obeys(self, order: Order) -> None:
        """Take an order's revision as its own, and its door's state; a command's is another part's."""
        self.runner_nonce = secrets.token_urlsafe(16)
        if isinstance(order.body, RunCommand):
            self.command = CommandReport(order.revision, order.digest)
            return
        self.held, self.digest = order.revision, order.digest
        is_open = isinstance(order.body, OpenDoor)
        self.state, self.session = ("OPEN" if is_open else "SHUT"), order.body.session  # type: ignore[union-attr]  # no settings orders here

    def next_order(self, seen: int, limit_s: float = 10) -> Order:
        """Wait for an order beyond the first ``seen``."""
        wait_until(lambda: len(self.orders) > seen, limit_s, "an order")
        return self.orders[seen]

    def connect(self, broker: Broker, folder: Path) -> None:
        """Connect as this device, say that it is connected, and listen."""
        certificate, key = broker.client(self.device).write(folder, self.device)
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        context.load_cert_chain(certificate, key)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.device)
        client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = self._on_message
        client.connect(broker.host, broker.port)
        client.loop_start()
        assert self.subscribed.wait(5)
        self.client = client
        self.send("presence", b'{"state": "connected"}')

    def disconnect(self) -> None:
        if self.client is not None:
            self.client.disconnect()
            self.client.loop_stop()
            self.client = None

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(topic(self.device, leaf), 1) for leaf in ("order", "receipt")])

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        leaf = message.topic.rpartition("/")[2]
        envelope = decode(bytes(message.payload), expected=leaf)
        if leaf == "order":
            self.orders.append(order_from_payload(envelope.payload))
            return
        assert self.record_key is None or KeyRing([self.record_key]).verify(envelope)
        receipt = receipt_from_payload(envelope.payload)
        self.receipts.append(receipt)
        self.heads.update(receipt.heads)


@contextmanager
def connected(device: ScriptedDevice, broker: Broker, folder: Path) -> Iterator[ScriptedDevice]:
    device.connect(broker, folder)
    try:
        yield device
    finally:
        device.disconnect()
