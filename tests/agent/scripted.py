"""The other side of a device, in the tests' hands: a console that signs what it likes, a runner that answers, a relay.

The console speaks through a real Mosquitto as a replica does. The runner is a unix socket that keeps what it was asked and
opens a listener with a banner for a door. The relay is a plain sshd that trusts a tunnel CA of its own.
"""

import json
import queue
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType, load_ssh_public_key
from doorward_agent.edges.paramiko_dialer import CHILD
from doorward_protocol.asked import Asked
from doorward_protocol.asks import Ask, ask_from_bytes
from doorward_protocol.envelope import decode
from doorward_protocol.ids import DeviceId, OrderId, ProjectId, SessionId, id_from_bytes
from doorward_protocol.orders import (
    ApplySettings,
    Body,
    Forward,
    Login,
    OpenDoor,
    Order,
    RelayRoute,
    ShutDoor,
    payload_from_order,
    text_from_body,
)
from doorward_protocol.receipts import Receipt, payload_from_receipt
from doorward_protocol.records import Record, record_from_payload
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey
from doorward_protocol.topics import topic
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.mosquitto import Broker
from tests.parts.waiting import wait_until

HOUR_S = 3600
SshKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_id(kind: str) -> str:
    return id_from_bytes(kind, secrets.token_bytes(10))


def ssh_line(key: SshKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def private_pem(key: SshKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Seat:
    """One device as it was joined, with the private keys that only the console's side has."""

    state_dir: Path
    device: DeviceId = field(default_factory=lambda: DeviceId(new_id("d")))
    project: ProjectId = field(default_factory=lambda: ProjectId(new_id("p")))
    grant: SigningKey = field(default_factory=SigningKey.generate)
    record: SigningKey = field(default_factory=SigningKey.generate)
    identity: SigningKey = field(default_factory=SigningKey.generate)
    tunnel: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def write(self, broker: Broker) -> None:
        """Lay out the state folder as ``doorward-agent join`` does."""
        self.state_dir.mkdir(mode=0o700)
        document = {
            "v": 1,
            "device": self.device,
            "project": self.project,
            "name": "pump-7",
            "grant_keys": [self.grant.public],
            "record_keys": [self.record.public],
            "mqtt": {"host": broker.host, "port": broker.port},
        }
        credentials = broker.client(self.device)
        files = {
            "identity.json": json.dumps(document).encode(),
            "identity_key": self.identity.raw(),
            "tunnel_key": private_pem(self.tunnel),
            "mqtt.key": credentials.key_pem,
            "mqtt.pem": credentials.chain_pem,
            "mqtt-ca.pem": broker.root.pem,
        }
        for name, content in files.items():
            (self.state_dir / name).write_bytes(content)
            (self.state_dir / name).chmod(0o600)


@dataclass(slots=True)
class ScriptedConsole:
    """A replica on the real broker: hears asks and records, signs orders and receipts."""

    seat: Seat
    broker: Broker
    relays: tuple[RelayRoute, ...] = ()
    asks: list[Ask] = field(default_factory=list)
    receipted: int = 0
    records: list[Record] = field(default_factory=list)
    raw_records: dict[int, bytes] = field(default_factory=dict)
    presence: list[str] = field(default_factory=list)
    revision: int = 0
    door_revision: int = 0
    port: int = 22001
    _receipting: threading.Lock = field(default_factory=threading.Lock)
    """Held while an ask is answered: a lower receipt that came after a higher one would take the device back."""
    _client: mqtt.Client | None = None

    def start(self) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="worker-1", clean_session=True)
        credentials = self.broker.client("worker-1")
        folder = self.broker.folder
        certificate, key = credentials.write(folder, "worker-1")
        context = ssl.create_default_context(cafile=str(self.broker.ca_file))
        context.load_cert_chain(certificate, key)
        client.tls_set_context(context)
        client.on_message = self._on_message
        is_there = threading.Event()
        client.on_subscribe = lambda *_: is_there.set()
        client.on_connect = lambda client, *_: client.subscribe(topic(self.seat.device, "#"), 1)
        client.reconnect_delay_set(1, 1)
        client.connect(self.broker.host, self.broker.port)
        client.loop_start()
        assert is_there.wait(10)
        self._client = client

    def stop(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client.on_message = self._client.on_connect = self._client.on_subscribe = None
            self._client = None  # paho closes its sockets when nobody holds it any more

    def _on_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        leaf = message.topic.rpartition("/")[2]
        if leaf == "ask":
            self.asks.append(ask_from_bytes(bytes(message.payload)))
            if self.asks[-1].journal.n != self.receipted:
                # A console says so to every ask of a device with unsent records; nothing is waited for in paho's own thread.
                with self._receipting:
                    client.publish(topic(self.seat.device, "receipt"), self._receipt(self.receipted), qos=1)
        elif leaf == "presence":
            self.presence.append(json.loads(message.payload)["state"])
        elif leaf == "record":
            payload = KeyRing([self.seat.identity.public]).verify(decode(bytes(message.payload), expected="record"))
            record = record_from_payload(payload)
            self.records.append(record)
            self.raw_records[record.head.n] = payload

    # Hearing

    def next_ask(
        self, after: int | None = None, what: Callable[[Ask], bool] = lambda _: True, limit_s: float = 15
    ) -> Ask:
        """Wait for an ask later than the first ``after`` that satisfies ``what``."""
        since = 0 if after is None else after
        found = wait_until(lambda: [ask for ask in self.asks[since:] if what(ask)], limit_s, "an ask")
        return found[0]

    def wait_for_state(self, state: str, limit_s: float = 15) -> Ask:
        """Wait until the newest ask says that the newest door order was accepted and the door is in ``state``."""

        def is_there() -> bool:
            door = self.asks[-1].door
            return door.state == state and door.revision.number == self.door_revision

        wait_until(is_there, limit_s, f"{state}; last {self.asks[-1].door}")
        return self.asks[-1]

    def verbs(self) -> list[str]:
        return [self.raw(n).fact.verb for n in sorted(self.raw_records)]

    def raw(self, n: int) -> Record:
        return record_from_payload(self.raw_records[n])

    def refusals(self) -> list[str]:
        found = (self.raw(n).fact for n in sorted(self.raw_records))
        return [str(fact.data["code"]) for fact in found if fact.verb == "order.refused"]

    # Saying

    def publish(self, payload: bytes, leaf: str = "order") -> None:
        client = self._client
        assert client is not None
        wait_until(client.is_connected, what="the console's own connection")
        client.publish(topic(self.seat.device, leaf), payload, qos=1).wait_for_publish(5)

    def body(self, session: str | None = None, **changes: Any) -> OpenDoor:
        """Make an order's body that opens; ``changes`` replace fields."""
        values: dict[str, Any] = {
            "session": SessionId(session or new_id("s")),
            "ends_at": now_ms() + HOUR_S * 1000,
            "duration_s": HOUR_S,
            "relays": self.relays,
            "forwards": (Forward("ssh", "ssh", "localhost", self.port),),
            "login": Login("remote-admin", (ssh_line(Ed25519PrivateKey.generate()),)),
            "banner": "a" * 16,
            "asked": Asked("aiko@example.com", now_ms(), "ticket 4711"),
        }
        return OpenDoor(**{**values, **changes})

    def order(self, body: Body, **changes: Any) -> bytes:
        """Sign an order for the newest ask; ``revision`` is the next one unless given."""
        ask = self.asks[-1]
        if "revision" not in changes:
            self.revision += 1
            self.door_revision = self.door_revision if isinstance(body, ApplySettings) else self.revision
        text = changes.pop("body_text", None) or text_from_body(body)
        signer: SigningKey = changes.pop("signer", self.seat.grant)
        values: dict[str, Any] = {
            "id": OrderId(new_id("o")),
            "project": self.seat.project,
            "device": self.seat.device,
            "nonce": ask.nonce,
            "runner_nonce": ask.runner_nonce,
            "issued_at": now_ms(),
            "part": "settings" if isinstance(body, ApplySettings) else "door",
            "revision": Revision(0, self.revision),
            "body_text": text,
            "body": body,
        }
        return signer.seal("order", payload_from_order(Order(**{**values, **changes})))

    def shut(self, session: str | None = None) -> None:
        self.publish(self.order(ShutDoor(None if session is None else SessionId(session))))

    def receipt(self, upto: int, **changes: Any) -> None:
        """Send a receipt for the device's records up to ``upto``."""
        with self._receipting:
            self.receipted = upto
        self.publish(self._receipt(upto, **changes), "receipt")

    def _receipt(self, upto: int, **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "project": self.seat.project,
            "author": f"device:{self.seat.device}",
            "upto": upto,
            "digest": self.raw(upto).head.digest if upto else None,
            "at": now_ms(),
            "heads": {},
        }
        return self.seat.record.seal("receipt", payload_from_receipt(Receipt(**{**values, **changes})))


class ScriptedRunner:
    """A runner on a unix socket: keeps what it was asked, and opens a loopback listener with a banner for a door."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runner.socket"
        self.nonce_file = folder / "nonce"
        self.requests: list[Mapping[str, Any]] = []
        self.refuse_with: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.session: str | None = None
        self.port = 0
        self._door: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self.renew_nonce()
        threading.Thread(target=self._serve, daemon=True).start()

    def renew_nonce(self) -> str:
        nonce = secrets.token_urlsafe(16)
        self.nonce_file.write_text(f"{nonce}\n")
        return nonce

    @property
    def verbs(self) -> list[str]:
        return [str(request["verb"]) for request in self.requests if request["verb"] != "status"]

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rw") as file:
                request = json.loads(file.readline())
                self.requests.append(request)
                file.write(json.dumps(self._answer(request)) + "\n")

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request["verb"] == "status":
            state = "shut" if self.session is None else "open"
            return {"ok": True, "state": state, "session": self.session, "port": self.port or None, "version": "0"}
        if request["verb"] == "close":
            self.close_door()
            return {"ok": True, "state": "shut", "session": request["session"]}
        if not self.refuse_with.empty():
            return {"ok": False, "code": self.refuse_with.get(), "message": "as scripted"}
        self.renew_nonce()
        payload = json.loads(decode(json.dumps(request["envelope"]).encode(), expected="order").payload)
        self._open(json.loads(payload["body"])["session"], request["port"])
        return {
            "ok": True,
            "state": "open",
            "session": self.session,
            "port": self.port,
            "closer": "cgroup",
            "ended": None,
        }

    def _open(self, session: str, port: int) -> None:
        if self._door is None:
            self._door = socket.create_server(("127.0.0.1", port))
            self.port = port
            threading.Thread(target=self._greet, args=(self._door,), daemon=True).start()
        self.session = session

    def _greet(self, door: socket.socket) -> None:
        while True:
            try:
                visitor, _ = door.accept()
            except OSError:
                return
            with visitor:
                visitor.sendall(b"SSH-2.0-Door\r\n")

    def close_door(self) -> None:
        if self._door is not None:
            self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()
            self._door = None
        self.session, self.port = None, 0


@dataclass(slots=True)
class TunnelCa:
    """A tunnel CA, and what an sshd needs to trust it for one session."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def certificate(self, device: Ed25519PrivateKey, principal: str, **changes: Any) -> str:
        """Certify a device's tunnel key for a session."""
        values: dict[str, Any] = {"principals": [principal.encode()], "from_s": -300, "to_s": HOUR_S, **changes}
        public = load_ssh_public_key(ssh_line(device).encode())
        builder = (
            SSHCertificateBuilder()
            .public_key(public)  # type: ignore[arg-type]  # an Ed25519 key is one of those allowed
            .serial(1)
            .type(SSHCertificateType.USER)
            .key_id(b"test")
            .valid_principals(values["principals"])
            .valid_after(int(time.time()) + values["from_s"])
            .valid_before(int(time.time()) + values["to_s"])
            .add_extension(b"permit-port-forwarding", b"")
        )
        return builder.sign(self.key).public_bytes().decode()


def port_of_door(port: int) -> bytes:
    """Connect to a forwarded port and read the banner; b"" when nobody listens or answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.settimeout(2)
            return connection.recv(64)
    except OSError:
        return b""


def tunnel_children(pid: int) -> list[int]:
    """Find the processes whose parent is ``pid`` and that hold a tunnel, whichever dialer started them."""
    return [child for child in children(pid) if _program(child) == "ssh" or CHILD in _words(child)]


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread may have ended meanwhile
            yield from [int(word) for word in (task / "children").read_text().split()]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""
