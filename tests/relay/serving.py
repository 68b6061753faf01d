"""What stands behind a tunnel, and who comes to it."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from doorward_protocol.grants import Grant

from tests.parts.processes import Program
from tests.relay.relaying import Console, Device, Relay

Dial = Callable[[str], Device]


class Service:
    """What stands behind a tunnel: each connection is given to ``serve`` in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="service", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(one)
            threading.Thread(target=self._serve_one, args=(one,), name="served", daemon=True).start()

    def _serve_one(self, one: socket.socket) -> None:
        with suppress(OSError), one:
            self._serve(one)

    def shut(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)  # whoever came in this moment is among those that are open, too
        for one in self._open:
            one.close()


Serving = Callable[[Callable[[socket.socket], None]], Service]


def echo(one: socket.socket) -> None:
    while said := one.recv(65_536):
        one.sendall(said)


def read_all(one: socket.socket) -> bytes:
    return b"".join(iter(lambda: one.recv(65_536), b""))


def opened(relay: Relay, console: Console, dial: Dial, to: int, n: int = 0) -> tuple[Grant, Device, Program]:
    granted = console.granted(relay.ports[n])
    device = dial(granted.session)
    client = device.dial()
    assert device.forward(relay.ports[n], to) == 0
    console.wait_for_verb("tunnel.up", granted.session)
    return granted, device, client


def visit(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answers(one: socket.socket) -> bool:
    try:
        one.sendall(b"x")
        return one.recv(1) == b"x"
    except OSError:
        return False


def is_served(port: int) -> bool:
    with visit(port) as one:
        return answers(one)


def said_through(local: int, wanted: int | None = None) -> bytes:
    """Read the first line that comes through the client's port; at a dynamic one ``wanted`` is asked for, over SOCKS 4."""
    with socket.create_connection(("127.0.0.1", local), timeout=5) as through, suppress(ConnectionResetError):
        if wanted is not None:
            through.sendall(b"\x04\x01" + struct.pack(">H", wanted) + b"\x7f\x00\x00\x01" + b"x\x00")
        try:
            return through.makefile("rb").readline()
        except TimeoutError:
            return b"open, and silent"
    return b""
