"""The MQTT broker, through paho: TLS with a client certificate, the pinned CA, no trust in the device's clock.

One connection per ``connect``, each with threads of its own that end with it; reconnecting is ``link``'s business. paho's
threads only put events on the queue.
"""

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from doorward_protocol.ids import DeviceId
from doorward_protocol.topics import TO_DEVICE, device_and_leaf, topic
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from doorward_agent.contracts import Post
from doorward_agent.events import BrokerConnected, BrokerLost, MessageArrived, RecordDelivered

_log = logging.getLogger(__name__)

NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: a device that does not know the year still verifies chain and name."""
CONNECT_LIMIT_S: Final = 15.0
STOP_LIMIT_S: Final = 3.0
MOST_IN_FLIGHT: Final = 80
"""64 records (protocol.md §5), and room for what must not wait behind them."""
LOOKS_PER_KEEPALIVE: Final = 6
"""How often paho looks whether a ping is due. Left to itself it wakes every second for that, all of its life; news wakes it anyway."""
PRESENT: Final = b'{"state":"connected"}'
AWAY: Final = b'{"state":"away"}'


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and with which files it is spoken to."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    keepalive_s: int


def tls_context(address: BrokerAddress) -> ssl.SSLContext:
    """Trust exactly the pinned CA, check the name, leave dates unchecked; raises OSError for unreadable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=str(address.ca))
    context.load_cert_chain(str(address.certificate), str(address.key))
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return context


class _PatientClient(mqtt.Client):
    """paho's client, whose thread sleeps until there is something to do."""

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # noqa: FBT001, FBT002  paho's signature
        return super().loop_forever(max(timeout, self.keepalive / LOOKS_PER_KEEPALIVE), retry_first_connection)


class BrokerEdge:
    """``contracts.Broker`` on paho."""

    def __init__(self, device: DeviceId, address: BrokerAddress, post: Post) -> None:
        self._device = device
        self._address = address
        self._post = post
        self._connection: _Connection | None = None

    def connect(self, generation: int) -> None:
        self.disconnect()
        self._connection = _Connection(self._device, self._address, self._post, generation)

    def disconnect(self) -> None:
        """Say goodbye and wait a moment for it to be sent."""
        if self._connection is not None:
            self._connection.stop()
            self._connection = None

    def publish(self, leaf: str, payload: bytes, *, retain: bool = False, record: int | None = None) -> None:
        if self._connection is not None:
            self._connection.publish(leaf, payload, retain=retain, record=record)


class _Connection:
    """One connection, from dialling to its end, said with ``BrokerLost`` exactly once."""

    def __init__(self, device: DeviceId, address: BrokerAddress, post: Post, generation: int) -> None:
        self._device, self._address, self._post, self._generation = device, address, post, generation
        self._sent: dict[int, int | None] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self._is_stopped = threading.Event()
        self._is_over = threading.Event()
        self._why = ""
        self._client = _PatientClient(
            CallbackAPIVersion.VERSION2, client_id=device, clean_session=True, reconnect_on_failure=False
        )
        self._client.connect_timeout = CONNECT_LIMIT_S
        self._client.max_inflight_messages_set(MOST_IN_FLIGHT)
        self._client.will_set(topic(device, "presence"), AWAY, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._thread = threading.Thread(target=self._run, name=f"broker-{generation}", daemon=True)
        self._thread.start()

    def publish(self, leaf: str, payload: bytes, *, retain: bool, record: int | None) -> None:
        sent = self._client.publish(topic(self._device, leaf), payload, qos=1, retain=retain)
        with self._lock:  # never around publish(): paho calls _on_publish while it holds a lock that publish() takes
            is_acknowledged = sent.mid in self._early
            self._early.discard(sent.mid)
            if not is_acknowledged:
                self._sent[sent.mid] = record
        if is_acknowledged and record is not None:
            self._post(RecordDelivered(self._generation, record))

    def stop(self) -> None:
        self._is_stopped.set()
        if self._client.is_connected():
            said = self._client.publish(topic(self._device, "presence"), AWAY, qos=1, retain=True)
            try:
                said.wait_for_publish(1.0)
            except (ValueError, RuntimeError) as error:
                _log.info("goodbye not sent error=%s", error)
        self._client.disconnect()
        self._is_over.wait(1.0)
        self._is_over.set()  # a broker that does not answer is not waited for
        self._thread.join(STOP_LIMIT_S)

    def _run(self) -> None:
        try:
            self._client.tls_set_context(tls_context(self._address))
            self._client.connect(self._address.host, self._address.port, keepalive=self._address.keepalive_s)
            # paho's own thread: without it publish() would write to the socket from two threads at once.
            self._client.loop_start()
            self._is_over.wait()
            self._client.loop_stop()
            why = self._why
        except (OSError, ValueError) as error:
            why = str(error)
            self._is_over.set()  # or the next dial would wait for this one's goodbye, which nobody heard
        client = self._client
        # paho closes its inner sockets when nobody holds the client any more; its callbacks hold us, and we hold it.
        client.on_connect = client.on_disconnect = client.on_message = client.on_publish = None
        self._post(BrokerLost(self._generation, why))

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure or self._is_stopped.is_set():
            _log.warning("broker not used reason=%s", reason)
            client.disconnect()
            return
        client.subscribe([(topic(self._device, leaf), 1) for leaf in TO_DEVICE])
        self.publish("presence", PRESENT, retain=True, record=None)
        self._post(BrokerConnected(self._generation))

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._why = str(reason)
        self._is_over.set()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        found = device_and_leaf(message.topic)
        if found is not None and found[0] == self._device:
            self._post(MessageArrived(found[1], bytes(message.payload)))

    def _on_publish(self, _client: mqtt.Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        with self._lock:
            if mid not in self._sent:
                self._early.add(mid)  # publish() has not returned yet
                return
            record = self._sent.pop(mid)
        if record is not None:
            self._post(RecordDelivered(self._generation, record))
