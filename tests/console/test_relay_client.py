"""The console's calls to a relay that does not answer as the protocol says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from doorward_console.edges.relay_client import MAX_ANSWER_BYTES, RelayAway, RelayClient, RelayPlace

from tests.parts.certificates import Credentials, make_root

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"10000\r\n" + b" " * 65_536 + b"\r\n"
MOST_PIECES = 3 * MAX_ANSWER_BYTES // 65_536


@dataclass
class Talker:
    """A relay with the right certificate whose answers do not end, or not before three times what is read of one."""

    context: ssl.SSLContext
    credentials: Credentials
    socket: socket.socket
    asked: bytes = b""
    sent: int = 0
    has_ended: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        plain, _ = self.socket.accept()
        with plain, self.context.wrap_socket(plain, server_side=True) as caller:
            self.asked = caller.recv(65_536)
            try:
                caller.sendall(HEAD)
                while self.sent < MOST_PIECES:
                    caller.sendall(PIECE)
                    self.sent += 1
                caller.sendall(b"0\r\n\r\n")
            except OSError:
                pass
        self.has_ended.set()


@pytest.fixture(params=["127.0.0.1", "::1"])
def talker(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Talker]:
    """Somebody who talks on."""
    host = str(request.param)
    credentials = make_root("relay").server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*credentials.write(scratch, "relay"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        made = Talker(context, credentials, listening)
        threading.Thread(target=made.serve, daemon=True).start()
        yield made


def test_relay_when_its_answer_does_not_end_then_it_is_hung_up_on_and_no_more_is_kept(talker: Talker) -> None:
    """A relay that was taken over cannot fill the console's memory."""
    host, port, *_ = talker.socket.getsockname()
    certificate = ssl.DER_cert_to_PEM_cert(talker.credentials.leaf_der)
    client = RelayClient(RelayPlace(host, port, certificate), None)
    with pytest.raises(RelayAway) as raised:
        client.version()
    assert raised.value.code == "relay.unavailable"
    assert talker.has_ended.wait(10)
    assert talker.sent < MOST_PIECES // 2
    named = f"[{host}]" if ":" in host else host
    assert f"\r\nHost: {named}:{port}\r\n".encode() in talker.asked
    client.close()
