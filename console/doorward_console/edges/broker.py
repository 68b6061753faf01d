"""The broker as the worker uses it: paho over TLS with this replica's certificate.

Only hands over: what comes goes to ``tell`` as events, from paho's own thread; nothing is decided here. The session at the
broker is kept (QoS 1), which is a convenience: whatever the broker loses is asked for again by receipts and asks.
"""

import ssl
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as mqtt
from doorward_protocol.topics import FROM_DEVICE, all_devices, device_and_leaf, topic
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from doorward_console.config import Config
from doorward_console.worker.events import BrokerJoined, BrokerLost, Event, MessageCame

KEEP_ALIVE_S: Final = 30
LONGEST_PAUSE_S: Final = 2
"""One client, not a fleet: what devices say while it is away may be lost."""
MOST_QUEUED: Final = 1000

Tell = Callable[[Event], object]


class Broker:
    """A connection that dials again by itself until it is stopped."""

    def __init__(self, config: Config, tell: Tell) -> None:
        """Prepare; ``start`` dials."""
        self._tell = tell
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=config.worker_name, clean_session=False, protocol=mqtt.MQTTv311
        )
        self._client.tls_set_context(_context(config))
        self._client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        self._client.max_queued_messages_set(MOST_QUEUED)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._is_subscribed = False
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._place = (config.broker_host, config.broker_port)

    def start(self) -> None:
        """Dial in paho's thread; a broker that is away is no error."""
        self._client.connect_async(*self._place, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Take leave and end paho's thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def is_connected(self) -> bool:
        """Tell whether the connection stands now."""
        return self._client.is_connected()

    def is_subscribed(self) -> bool:
        """Tell whether the broker has said that it sends what devices say: before that it may be lost."""
        return self._is_subscribed

    def publish(self, device: str, leaf: str, payload: bytes) -> bool:
        """Hand a message to the broker at QoS 1; False when there is no connection."""
        if not self.is_connected():
            return False
        return self._client.publish(topic(device, leaf), payload, qos=1).rc == mqtt.MQTT_ERR_SUCCESS

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, reason: ReasonCode, _more: Properties | None
    ) -> None:
        if not reason.is_failure:
            client.subscribe([(all_devices(leaf), 1) for leaf in FROM_DEVICE])

    def _on_subscribe(self, *_said: Any) -> None:
        self._is_subscribed = True
        self._tell(BrokerJoined())

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        _reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self._is_subscribed = False
        self._tell(BrokerLost())

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        found = device_and_leaf(message.topic)
        if found is not None and found[1] in FROM_DEVICE:
            self._tell(MessageCame(found[0], found[1], bytes(message.payload)))


def _context(config: Config) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(config.broker_ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(config.worker_certificate), str(config.worker_certificate_key))
    return context
