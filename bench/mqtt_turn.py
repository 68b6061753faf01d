"""What no command can be quicker than: a message of a device's over MQTT, one back, and a process that does nothing."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt
from doorward_protocol.ids import DeviceId
from doorward_protocol.topics import topic
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.mosquitto import Broker, start_mosquitto
from tests.parts.processes import Programs

_DEVICE: Final = DeviceId("d-anchor")
_MESSAGE: Final = b"x" * 1000
"""About an order's size."""
_LIMIT_S: Final = 10.0


class Turns:
    """A device and a worker, both connected."""

    def __init__(self, device: mqtt.Client, worker: mqtt.Client) -> None:
        self._device, self._back = device, threading.Event()
        worker.on_message = lambda client, *_: client.publish(topic(_DEVICE, "order"), _MESSAGE, qos=1)
        device.on_message = lambda *_: self._back.set()

    def there_and_back_s(self) -> float:
        """Ask, have the answer, fork and see the child's end; gives how long that took."""
        self._back.clear()
        started = time.monotonic()
        self._device.publish(topic(_DEVICE, "ask"), _MESSAGE, qos=1)
        assert self._back.wait(_LIMIT_S), "no answer came"
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return time.monotonic() - started


@contextmanager
def turns(programs: Programs, folder: Path) -> Iterator[Turns]:
    """Start a broker of its own, as the console's is, and connect both."""
    broker = start_mosquitto(programs, folder)
    clients = [_connected(broker, _DEVICE, "order"), _connected(broker, "worker-1", "ask")]
    try:
        yield Turns(*clients)
    finally:
        for client in clients:
            client.disconnect()
            client.loop_stop()
        broker.stop()


def _connected(broker: Broker, name: str, hears: str) -> mqtt.Client:
    certificate, key = broker.client(name).write(broker.folder, name)
    context = ssl.create_default_context(cafile=str(broker.ca_file))
    context.load_cert_chain(certificate, key)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.tls_set_context(context)
    is_there = threading.Event()
    client.on_subscribe = _rings(is_there)
    client.connect(broker.host, broker.port)
    client.subscribe(topic(_DEVICE, hears), 1)
    client.loop_start()
    assert is_there.wait(_LIMIT_S), f"{name} could not subscribe"
    return client


def _rings(bell: threading.Event) -> Callable[..., None]:
    return lambda *_: bell.set()
