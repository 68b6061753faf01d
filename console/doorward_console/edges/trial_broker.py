"""The broker of a trial: amqtt behind a listener of ours, with the rules that Mosquitto has in production.

amqtt takes a client's word for its id and throws the former owner of that id off before it asks anybody; it publishes a Last
Will without asking, and reads packets of any size. So each connection is met here first: TLS with a client certificate,
the CONNECT packet read and rewritten (user name and client id are the certificate's name, the Last Will is one that the
name may publish), and only then handed over. No revocation list, MQTT 3.1.1 only, slow beyond a few hundred clients: see
docs/adr/0018-the-broker-of-a-trial.md.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connect import ConnectPacket
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from doorward_console.broker_rights import may_hear, may_say, may_subscribe
from doorward_console.config import Config
from doorward_console.edges.trial_reader import BoundedReader

LISTENER: Final = "doorward"
CONNECT_S: Final = 10.0
MOST_STRANGERS: Final = 200
"""Connections that have not said who they are; more are closed at once."""

LOG: Final = logging.getLogger("doorward.broker")


class Turned(Exception):
    """A client that is not let in; the text says why."""


class Identity(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets in whoever got this far: TLS has checked the certificate."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Say yes to a session that bears the certificate's name."""
        return bool(session.username) and session.username == session.client_id


class Rights(BaseTopicPlugin):  # type: ignore[misc]  # amqtt has no types
    """Topic rights by the certificate's name."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Ask ``broker_rights``."""
        name = session.username if session else None
        ask: dict[Action | None, Callable[[str, str], bool]] = {
            Action.PUBLISH: may_say,
            Action.RECEIVE: may_hear,
            Action.SUBSCRIBE: may_subscribe,
        }
        return bool(name) and bool(topic) and action in ask and ask[action](str(name), str(topic))


class TrialBroker:
    """One listener for devices and workers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Prepare; ``start`` listens."""
        own = __name__
        self._context = context
        self._broker = Broker(
            BrokerConfig(
                listeners={
                    "default": ListenerConfig(type=ListenerType.EXTERNAL, bind=""),
                    LISTENER: ListenerConfig(type=ListenerType.EXTERNAL, bind=""),
                },
                plugins={f"{own}.Identity": {}, f"{own}.Rights": {}},
            )
        )
        self._strangers = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str | None, port: int) -> None:
        """Listen; raises OSError where the port cannot be bound."""
        await self._broker.start()
        self._server = await asyncio.start_server(
            self._meet, host, port, ssl=self._context, ssl_handshake_timeout=CONNECT_S
        )

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        with suppress(AMQTTError):
            await self._broker.shutdown()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from its first byte to its last."""
        if self._strangers >= MOST_STRANGERS:
            writer.close()
            return
        self._strangers += 1
        try:
            met = await asyncio.wait_for(_met(reader, writer), CONNECT_S)
        except (
            Turned,
            AMQTTError,
            MQTTError,
            NoDataError,
            OSError,
            asyncio.IncompleteReadError,
            asyncio.TimeoutError,
        ) as no:
            LOG.warning("turned away peer=%s why=%s", writer.get_extra_info("peername"), no or type(no).__name__)
            writer.close()
            return
        finally:
            self._strangers -= 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._broker.external_connected(met, StreamWriterAdapter(writer), LISTENER)


async def _met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> BoundedReader:
    """Read CONNECT and give a reader that begins with it as the broker may see it."""
    name = _name_of(writer.get_extra_info("ssl_object").getpeercert())
    packet = await ConnectPacket.from_stream(BoundedReader(reader, writer.transport.abort))
    if packet.will_flag and not may_say(name, packet.will_topic or ""):
        raise Turned(f"{name} asks for a Last Will on {packet.will_topic!r}")
    packet.client_id = packet.username = name
    packet.username_flag, packet.password_flag = True, False
    return BoundedReader(reader, writer.transport.abort, bytes(packet.to_bytes()), packet.keep_alive)


def _name_of(certificate: dict[str, Any] | None) -> str:
    """Read the common name; TLS has verified whose it is."""
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    if len(names) != 1 or not names[0]:
        raise Turned("a certificate without one common name")
    return str(names[0])


def context_from(config: Config) -> ssl.SSLContext:
    """Make the listener's TLS: the broker's certificate beside the root that it trusts for clients."""
    folder = config.broker_ca.parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    context.load_verify_locations(config.broker_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
