"""A tunnel edge by itself, between a plain sshd as relay and a door that a test answers for."""

import queue
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doorward_agent import events
from doorward_agent.contracts import Dial
from doorward_agent.edges.connecting import relay_link
from doorward_agent.edges.reachability import resolved
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event
from doorward_protocol.ids import RelayId, SessionId
from doorward_protocol.orders import Forward, RelayRoute

from tests.agent.scripted import TunnelCa, new_id
from tests.parts.files import write_whole
from tests.parts.sshd import Sshd

TUNNELS = ("ssh", "paramiko")
"""Who can dial a relay."""

FOLDERS = ("the agent's state", "what it runs in")
"""Names with spaces, which ssh would take for several words."""

RELAY_OPTIONS = (
    "PermitRootLogin yes",
    "AllowTcpForwarding remote",
    "GatewayPorts clientspecified",
    "TrustedUserCAKeys {folder}/tunnel-ca.pub",
    "AuthorizedPrincipalsFile {folder}/principals",
    "StrictModes no",
    # A relay renews keys in its own time; here often enough for a test to go through it.
    "RekeyLimit 8M",
    "HostKey {folder}/host_key",
    "HostKey {folder}/host_key_rsa",
    "HostKey {folder}/host_key_ecdsa",
)


@dataclass(slots=True)
class Relay:
    """A plain sshd that admits the sessions in its principals file."""

    sshd: Sshd
    ca: TunnelCa
    id: RelayId = field(default_factory=lambda: RelayId(new_id("r")))

    def admit(self, session: str, port: int, command: str = "/bin/false", *more: int) -> None:
        listen = ",".join(f'permitlisten="{one}"' for one in (port, *more))
        options = f'restrict,port-forwarding,command="{command}",permitopen="127.0.0.1:1",{listen}'
        write_whole(self.sshd.folder / "principals", f"{options} {session}\n")

    def route(self, certificate: str, **changes: Any) -> RelayRoute:
        values: dict[str, Any] = {
            "relay": self.id,
            "kind": "managed",
            "host": "127.0.0.1",
            "port": self.sshd.port,
            "user": "root",
            "host_keys": (self.sshd.host_key,),
            "certificate": certificate,
        }
        return RelayRoute(**{**values, **changes})


@dataclass(slots=True)
class Bench:
    """A tunnel edge, its events, and a door that answers."""

    edge: TunnelEdge
    events: "queue.SimpleQueue[Event]"
    relay: Relay
    key: Ed25519PrivateKey
    session: SessionId
    port: int
    door: socket.socket
    folder: Path

    @property
    def state_dir(self) -> Path:
        return self.folder / FOLDERS[0]

    @property
    def run_dir(self) -> Path:
        return self.folder / FOLDERS[1]

    @property
    def door_port(self) -> int:
        return int(self.door.getsockname()[1])

    def certificate(self) -> str:
        return self.relay.ca.certificate(self.key, self.session)

    def dial(self, attempt: int = 1, route: RelayRoute | None = None, bind: str = "localhost") -> None:
        chosen = route or self.relay.route(self.certificate())
        self.edge.open(Dial(attempt, self.session, chosen, (Forward("ssh", "ssh", bind, self.port),)))

    def link(self) -> socket.socket:
        """Connect to the relay as the tunnel's own thread does."""
        link = relay_link(resolved("127.0.0.1", self.relay.sshd.port), 20)
        assert link is not None
        return link

    def next(self) -> Event:
        return self.events.get(timeout=20)

    def open(self, attempt: int = 1) -> None:
        self.dial(attempt)
        self.edge.forward(attempt, self.door_port)
        assert self.next() == events.TunnelOpened(attempt)
