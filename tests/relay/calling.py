"""A caller of a relay's control port who takes his TLS step by step, and says how it ended."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

LIMIT_S: Final = 5.0
"""A relay that neither answers nor hangs up is a failure: the caller raises TimeoutError."""
HEALTHZ: Final = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"


def client_context(trusted: Path, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Trust one certificate, and show one or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trusted)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


class Caller:
    """One TCP connection, opened at once; its handshake begins when it is told to."""

    def __init__(self, port: int, context: ssl.SSLContext, limit_s: float = LIMIT_S) -> None:
        """Connect; raises ConnectionRefusedError."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=limit_s)
        self._heard, self._saying = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._heard, self._saying, server_hostname="127.0.0.1")

    def begin(self) -> "Caller":
        """Say hello, hear what the relay says to it, and leave it at that: half of a handshake."""
        self._tried(self._tls.do_handshake)
        self._hear()
        return self

    def ask(self, request: bytes) -> bytes:
        """Finish the handshake, ask, and give the answer's beginning; nothing where the relay hung up."""
        try:
            self.say(request)
            return self._until_done(lambda: self._tls.read(65_536))
        except (ssl.SSLError, ConnectionError):
            return b""

    def say(self, part: bytes) -> None:
        """Finish the handshake and say something without waiting for an answer."""
        self._until_done(self._tls.do_handshake)
        self._until_done(lambda: self._tls.write(part))

    def is_cut(self) -> bool:
        """Wait for the relay to hang up; what it said before does not count."""
        try:
            while self._socket.recv(65_536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    def _until_done(self, step: Callable[[], T]) -> T:
        while (done := self._tried(step)) is None:
            self._hear()
        return done[0]

    def _tried(self, step: Callable[[], T]) -> tuple[T] | None:
        """Go one step, or as far as one comes without hearing more, and say what is to be said."""
        try:
            return (step(),)
        except ssl.SSLWantReadError:
            return None
        finally:
            self._say()

    def _say(self) -> None:
        self._socket.sendall(self._saying.read())

    def _hear(self) -> None:
        heard = self._socket.recv(65_536)
        if heard:
            self._heard.write(heard)
        else:
            self._heard.write_eof()
