"""The embedded relay's ssh side: listens for devices, knows every connection, and shows them as ``contracts.Connections``.

Everything is in this process, so looking costs nothing and an end acts on the connection itself: once ``end`` has returned,
nothing of it listens. asyncssh reads key files again for each connection; it is given keys instead.
"""

import asyncio
import itertools
import logging
import resource
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final

import asyncssh
from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId

from doorward_relay.config import ConfigError, RelayConfig
from doorward_relay.contracts import PAUSE_S
from doorward_relay.edges import kernel
from doorward_relay.edges.embedded import ports
from doorward_relay.edges.embedded.admitted import Admitted
from doorward_relay.edges.embedded.connection import Connection
from doorward_relay.edges.embedded.device import Device
from doorward_relay.edges.embedded.feeling import Feeling
from doorward_relay.edges.embedded.heap import Heap
from doorward_relay.edges.embedded.visiting import Visit
from doorward_relay.reaper import KEEPALIVE_S, KEEPALIVES
from doorward_relay.view import Count, Listener, Tunnel, View, Visitor, listening_on

LOGIN_S: Final = 20
MOST_STRANGERS: Final = 1_000
"""Connections at a time that have not logged in; as OpenSSH's MaxStartups in the managed relay."""
ENOUGH_S: Final = 5.0
"""In which a device has logged in, also over a poor line."""
_LONGER_THAN_A_PROBE_MS: Final = 5_000
"""Our own probes are visits, too, and with thousands of doors there is always one; a shorter visit is no typing person's."""
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
"""The client's order decides in ssh (RFC 4253, section 7.1): who asks for GCM first gets it. ChaCha20, which OpenSSH's
client asks for by itself, costs 40 % more here and is not offered; that client comes to CTR then."""
_MACS: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_LOG: Final = logging.getLogger("doorward.relay")

SayHello = Callable[[Tunnel | None, SessionId], Coroutine[Any, Any, str]]


class Server:
    """Devices' connections (``contracts.Connections``) and who may have one (``contracts.Admission``)."""

    def __init__(self, config: RelayConfig, clock: Callable[[], int]) -> None:
        """Nobody is listened for before ``keep``."""
        self.admitted = Admitted(clock)
        self.tunnel_user = config.tunnel_user
        self._config = config
        self._numbers = itertools.count(1)
        self._strangers: dict[int, Device] = {}
        self._devices: dict[int, Device] = {}
        self._visits: dict[int, Visit] = {}
        self._visited: list[tuple[Visitor, Count]] = []
        self._gone: dict[int, Count] = {}
        self._servers: list[asyncio.Server] = []
        self._has_news = False
        self._heap = Heap()
        self._feeling = Feeling(self._devices)
        self._shown: View | None = None
        self._say_hello: SayHello | None = None

    # Serving

    async def keep(self, hello: SayHello) -> None:
        """Listen for devices; returns only by being cancelled. Raises ConfigError where the port cannot be bound."""
        self._say_hello = hello
        _use_descriptors()
        logging.getLogger("asyncssh").setLevel(logging.ERROR)  # it tells each log-in; the chain does that here
        options = _options(self._config, lambda: Device(self))
        loop = asyncio.get_running_loop()
        try:
            sockets = ports.bound(self._config.listen, self._config.ssh_port)
        except OSError as error:
            raise ConfigError([f"ssh_port: {self._config.ssh_port} cannot be bound: {error.strerror}"]) from None
        for one in sockets:
            one.listen(ports.BACKLOG)
            self._servers.append(
                await loop.create_server(lambda: Connection(loop, options), sock=one, backlog=ports.BACKLOG)
            )
        await self._feeling.keep()

    def stop(self) -> None:
        """Listen for nobody any more; who is connected stays until ended."""
        for server in self._servers:
            server.close()
        self._servers = []
        for stranger in tuple(self._strangers.values()):
            stranger.end()

    def is_serving(self) -> bool:
        """Tell whether devices are listened for."""
        return bool(self._servers)

    # Admitting

    @property
    def is_settled(self) -> bool:
        """Whether what was last said is in force: it always is, there is no file to be written."""
        return True

    def trust(self, tunnel_ca: str | None) -> None:
        """Accept certificates of this CA, or of none."""
        self.admitted.trust(tunnel_ca)

    def admit(self, grants: Iterable[Grant]) -> None:
        """Let these grants' devices log in and nobody else; who came for another session is cut, whatever he holds."""
        self.admitted.admit(grants)
        for device in tuple(self._devices.values()):
            if self.admitted.grant_of(device.session) is None:
                device.end()

    # Looking

    def glance(self) -> View:
        """Look, and let go of what left since the last look."""
        visited, self._visited = self._visited, []
        gone, self._gone = self._gone, {visitor.number: count for visitor, count in visited}
        here = tuple(self._visits.values())
        counts = {
            **gone,
            **{visitor.number: count for visitor, count in visited},
            **{visit.visitor.number: visit.count for visit in here},
        }
        visitors = (*(visit.visitor for visit in here), *(visitor for visitor, _ in visited))
        is_visited = any((counts[one.visitor.number].lasted_ms or 0) > _LONGER_THAN_A_PROBE_MS for one in here)
        self._heap.settle(len(self._devices), is_visited=is_visited)
        return replace(self.look(), visitors=visitors, counts=counts, pulses=self._feeling.pulses())

    def look(self) -> View:
        """Look at tunnels and listeners; the same tuples as long as none of them changes."""
        if self._shown is None:
            tunnels = tuple(device.tunnel for device in self._devices.values())
            self._shown = View(tunnels, tuple(each for one in tunnels for each in one.listeners), ())
        return self._shown

    def has_news(self) -> bool:
        """Tell whether listeners came or went since this was asked last."""
        news, self._has_news = self._has_news, False
        return news

    def listening(self, wanted: Iterable[int]) -> tuple[Listener, ...]:
        """Give whatever listens on any of these ports; of other programs no more is known than that they do."""
        asked = frozenset(wanted)
        ours = tuple(one for one in self.look().listeners if one.port in asked)
        others = asked - {one.port for one in ours}
        return (
            *ours,
            *(Listener("::", port, is_devices=False, number=0) for port in others if not ports.is_free(port)),
        )

    def names_of(self, listeners: Iterable[Listener]) -> tuple[str, ...]:
        """Name programs behind listeners, which an ordinary user can of his own alone."""
        found = listening_on(kernel.sockets(), (one.port for one in listeners))
        return kernel.holders_of(one.number for one in found)

    # Ending

    def end(self, tunnels: Iterable[Tunnel]) -> None:
        """Cut connections; when this returns none of them listens any more."""
        for tunnel in tunnels:
            device = self._devices.get(tunnel.key[0])
            if device is not None:
                device.end()

    async def free(self, wanted: tuple[int, ...], caller: Tunnel, limit_s: float) -> bool:
        """End every connection but ``caller`` that holds any of these ports; tell whether they are the caller's alone."""
        deadline = time.monotonic() + limit_s
        while True:
            view = self.look()
            self.end(one for one in view.holders_of(wanted) if one.key != caller.key)
            own = {each.number for one in view.tunnels if one.key == caller.key for each in one.listeners}
            left = [one for one in self.listening(wanted) if one.number not in own]
            if not left or any(not one.is_devices for one in left) or time.monotonic() > deadline:
                return not left
            await asyncio.sleep(PAUSE_S)

    # Told by connections

    def next_number(self) -> int:
        """Give a number that nothing else has."""
        return next(self._numbers)

    def arrived(self, device: Device) -> bool:
        """Take note of a stranger; False: there are too many.

        Then one who had time enough to log in makes room; where nobody had, it is a fleet after an outage, and those who
        began first are let finish.
        """
        if len(self._strangers) >= MOST_STRANGERS:
            oldest = next(iter(self._strangers.values()))
            if time.monotonic() - oldest.since < ENOUGH_S:
                return False
            self._strangers.pop(oldest.number)
            oldest.end()
        self._strangers[device.number] = device
        return True

    def logged_in(self, device: Device) -> None:
        """Take note that a stranger is a device."""
        self._strangers.pop(device.number, None)
        self._devices[device.number] = device
        self._shown = None
        self._heap.came += 1

    def gone(self, device: Device) -> None:
        """Take note that a connection is over, and how much went over it."""
        self._strangers.pop(device.number, None)
        if self._devices.pop(device.number, None) is not None:
            self._shown = None
            self._heap.gone += 1
            self._gone[device.number] = device.count()

    def came(self, visit: Visit) -> None:
        """Take note of a visitor."""
        self._visits[visit.visitor.number] = visit

    def visited(self, visit: Visit) -> None:
        """Take note of a visitor that left: the next look shows him once more, however short he was here."""
        self._visits.pop(visit.visitor.number, None)
        self._visited.append((visit.visitor, visit.count))

    def changed(self) -> None:
        """Take note that a listener came or went."""
        self._shown = None
        self._has_news = True

    async def hello(self, device: Device) -> str:
        """Give a device its session's port; answers a reason code."""
        return "relay.unavailable" if self._say_hello is None else await self._say_hello(device.tunnel, device.session)


def _options(config: RelayConfig, device: Callable[[], Device]) -> asyncssh.SSHServerConnectionOptions:
    key = asyncssh.import_private_key(config.host_key_file.read_bytes())
    return asyncssh.SSHServerConnectionOptions(
        server_factory=device,
        server_host_keys=[key],
        server_version="doorward",
        config=None,
        authorized_client_keys=None,
        x509_trusted_certs=None,
        gss_host=None,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        encryption_algs=_CIPHERS,
        mac_algs=_MACS,
        compression_algs=None,
        login_timeout=LOGIN_S,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVES,
        allow_pty=False,
        line_editor=False,
        x11_forwarding=False,
        agent_forwarding=False,
        sftp_factory=None,
        allow_scp=False,
    )


def _use_descriptors() -> None:
    """Take as many descriptors as we may have: a tunnel needs three, and each visitor one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _LOG.info("descriptors.most n=%d", hard)
