"""A relay that a test scripts: real HTTPS with mutual TLS and a chain of its own, and nothing behind it.

It answers as docs/protocol.md §7 says; no sshd, no tunnel. A test says what the relay sees (``says``), what it refuses (``refuses``)
and whether it is there at all (``away``).
"""

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from doorward_protocol.envelope import decode
from doorward_protocol.joining import PairingLine, fingerprint_of, text_from_pairing
from doorward_protocol.receipts import Receipt, receipt_from_payload
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import SigningKey

from tests.parts.certificates import Credentials, make_root

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUaYnQVMAiyX1b1tKjWFMwJ2RB1rd8sQvYB8TCF0cZk"
TOKEN = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class ScriptedRelay:
    """What the stand-in holds. ``refuses`` maps a call's name (pair, put, end, records …) to the code it answers with."""

    folder: Path
    key: SigningKey = field(default_factory=SigningKey.generate)
    credentials: Credentials = field(default_factory=lambda: make_root("relay").server())
    name: str = "relay:?"
    head: Head = field(default_factory=Head)
    heads: dict[str, Head] = field(default_factory=dict)
    envelopes: list[bytes] = field(default_factory=list)
    live: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    paired: Mapping[str, Any] | None = None
    clock_skew_ms: int = 0
    kind: str | None = None
    host_key: str = HOST_KEY
    port: int = 0
    news: threading.Condition = field(default_factory=threading.Condition)
    server: "Server | None" = None

    @property
    def line(self) -> str:
        """The pairing line that this relay would print."""
        return text_from_pairing(
            PairingLine("127.0.0.1", self.port, fingerprint_of(self.credentials.leaf_der), TOKEN, HOST_KEY)
        )

    def says(self, verb: str, session: str | None = None, device: str | None = None, **data: Any) -> bytes:
        """Write a record into the relay's chain; whoever polls gets it at once."""
        with self.news:
            moment = Moment(int(time.time() * 1000))
            payload = next_payload(self.name, self.head, moment, Fact(verb, session, device, data), dict(self.heads))
            self.head = head_after(payload, self.head)
            self.envelopes.append(self.key.seal("record", payload))
            self.news.notify_all()
            return self.envelopes[-1]

    def start(self) -> None:
        """Listen (again, on the same port)."""
        self.server = Server(self)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Vanish from the network."""
        if self.server is not None:
            self.server.is_ending = True
            with self.news:
                self.news.notify_all()
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.calls)


@contextmanager
def scripted_relay(folder: Path) -> Iterator[ScriptedRelay]:
    """Give a listening, unpaired relay."""
    relay = ScriptedRelay(folder)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


class Server(ThreadingHTTPServer):
    """TLS; asks for the console's certificate once paired."""

    daemon_threads = True
    block_on_close = False
    is_ending = False

    def __init__(self, relay: ScriptedRelay) -> None:
        self.relay = relay
        self.open: set[Any] = set()
        self.allow_reuse_address = True
        super().__init__(("127.0.0.1", relay.port), Handler)

    def get_request(self) -> Any:
        plain, address = self.socket.accept()
        plain.settimeout(10)
        made = self._context().wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self.open.add(made)
        return made, address

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = self.relay.credentials.write(self.relay.folder, f"relay-{self.relay.port}")
        context.load_cert_chain(certificate, key)
        if self.relay.paired is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=self.relay.paired["client_certificate"])
        return context

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for one in list(self.open):
            self.shutdown_request(one)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that is refused breaks its connection."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        """Nothing."""

    def do_GET(self) -> None:  # the standard library's name
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    do_PUT = do_POST  # noqa: N815

    def _answer(self, body: Any) -> None:
        relay = self.server.relay
        name = self._name()
        relay.calls.append((name, body))
        if name in relay.refuses:
            self._send(409, {"code": relay.refuses[name], "message": "no", "next": "nothing"})
            return
        self._send(200, getattr(self, f"_{name}")(relay, body))

    def _name(self) -> str:
        path = self.path.partition("?")[0]
        if path.startswith("/v1/grants/"):
            return "end" if path.endswith("/end") else "put"
        return path.removeprefix("/v1/").lstrip("/").partition("/")[0]

    def _send(self, status: int, document: Any) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _pair(self, relay: ScriptedRelay, body: Any) -> Any:
        relay.paired, relay.name = body, f"relay:{body['relay']}"
        kind = {} if relay.kind is None else {"kind": relay.kind}
        return kind | {
            "relay": body["relay"], "record_key": relay.key.public, "version": "0.1.0", "ssh_host_keys": [relay.host_key],
            "ssh_port": 2222, "tunnel_user": "doorward-tunnel", "ports": [22000, 22999], "clock_at": self._now(),
        }  # fmt: skip

    def _put(self, relay: ScriptedRelay, body: Any) -> Any:
        grant = json.loads(decode(json.dumps(body["grant"]).encode(), expected="grant").payload)
        relay.live[grant["session"]] = grant
        relay.says("grant.accepted", grant["session"], grant["device"], seq=grant["seq"])
        return {"session": grant["session"], "seq": grant["seq"]}

    def _end(self, relay: ScriptedRelay, body: Any) -> Any:
        session = self.path.split("/")[3]
        if relay.live.pop(session, None) is not None:
            relay.says("grant.ended", session, why=body["why"])
        relay.ended.append(session)
        return {"session": session, "closed": True, "ports_free": True}

    def _reconcile(self, relay: ScriptedRelay, body: Any) -> Any:
        missing = [session for session in body["sessions"] if session not in relay.live]
        return {"ended": [], "missing": missing}

    def _probe(self, _relay: ScriptedRelay, _body: Any) -> Any:
        return {"open": True, "code": None, "ms": 1, "banner": "SSH-2.0-OpenSSH"}

    def _records(self, relay: ScriptedRelay, _body: Any) -> Any:
        query = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
        after, until = int(query["after"]), time.monotonic() + float(query["wait"])
        with relay.news:
            while len(relay.envelopes) <= after and time.monotonic() < until and not self.server.is_ending:
                relay.news.wait(0.2)
            records = [json.loads(one) for one in relay.envelopes[after:]]
            head = {"epoch": relay.head.epoch, "n": relay.head.n, "digest": relay.head.digest}
        return {"records": records, "head": head, "live": list(relay.live), "clock_at": self._now()}

    def _receipt(self, relay: ScriptedRelay, body: Any) -> Any:
        receipt = receipt_from_payload(decode(json.dumps(body["receipt"]).encode(), expected="receipt").payload)
        relay.receipts.append(receipt)
        relay.heads.update(receipt.heads)
        return {}

    def _version(self, _relay: ScriptedRelay, _body: Any) -> Any:
        return {"version": "0.1.0", "protocol": [1]}

    def _now(self) -> int:
        return int(time.time() * 1000) + self.server.relay.clock_skew_ms
