"""Relays, consoles, devices and doors of the relay's tests."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.parts.installed import missing
from tests.parts.ports import neighbours
from tests.parts.processes import Programs
from tests.relay.relaying import EMBEDDED, KINDS, MANAGED, Console, Device, Relay, device_for, install_relay
from tests.relay.serving import Service, Serving

PARTS = {MANAGED: ("root", "sshd", "ssh", "useradd"), EMBEDDED: ("ssh",)}
"""What has to be there for a relay of each kind and its devices."""


def skip_without_parts(kind: str) -> None:
    """Skip the test where something is missing for a relay of this kind."""
    for part in PARTS[kind]:
        reason = missing(part)
        if reason is not None:
            pytest.skip(reason)


def installed_relay(programs: Programs, folder: Path, kind: str) -> Relay:
    """Install a relay with ports of its own and start what belongs to it; unpaired."""
    made = install_relay(programs, folder, neighbours(8), kind)
    made.start()
    return made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of relay in turn: what a test promises holds for both unless it says otherwise."""
    skip_without_parts(request.param)
    return str(request.param)


@pytest.fixture
def relay(programs: Programs, scratch: Path, kind: str) -> Relay:
    """An installed relay that runs; unpaired."""
    return installed_relay(programs, scratch / "relay", kind)


@pytest.fixture
def console(relay: Relay, scratch: Path) -> Console:
    """The console that the relay is paired with."""
    made = Console(relay, scratch)
    made.pair()
    return made


@pytest.fixture
def dial(relay: Relay, console: Console, scratch: Path) -> Callable[[str], Device]:
    """Make a device with a certificate for a session; it has not dialled yet."""
    return lambda session: device_for(relay, console, scratch, session)


class Door:
    """What stands behind a tunnel: shows a banner to whoever connects."""

    def __init__(self, banner: str, slow_s: float = 0) -> None:
        self.banner, self._slow_s = banner, slow_s
        self._shutting = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="door", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(visitor)
            self._shutting.wait(self._slow_s)
            with suppress(OSError):
                visitor.sendall(f"SSH-2.0-OpenSSH_9.2 doorward-{self.banner}\r\n".encode())

    def shut(self) -> None:
        self._shutting.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)  # whoever came in this moment is among those that are open, too
        for one in self._open:
            one.close()


@pytest.fixture
def door() -> Iterator[Callable[..., Door]]:
    """Start a door that shows a session's banner."""
    made: list[Door] = []

    def start(banner: str, slow_s: float = 0) -> Door:
        made.append(Door(banner, slow_s))
        return made[-1]

    yield start
    for one in made:
        one.shut()


@pytest.fixture
def service() -> Iterator[Serving]:
    """Start what shall stand behind a tunnel."""
    made: list[Service] = []

    def start(serve: Callable[[socket.socket], None]) -> Service:
        made.append(Service(serve))
        return made[-1]

    yield start
    for one in made:
        one.shut()
