"""What a tunnel needs of whoever dials the relay, and who that is on this device.

There are two dialers: OpenSSH's client, and paramiko where that is missing. ``TunnelEdge`` is the same for both.
"""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from doorward_protocol.orders import Forward
from doorward_protocol.targets import Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges.reachability import Address, reachability

FORWARD_TRIES: Final = 3
"""The relay frees our port for us; that it is taken again by the time we ask happens to nobody twice."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about a named forward of an attempt (``scouting``).

    Attributes:
        place: the address that may be connected to and answers; None where ``code`` says why there is none.
        address: what its name led to, also where that is not allowed; empty where it led nowhere.
    """

    attempt: int
    forward: Forward
    place: Target | None
    address: str
    code: str | None


class Connection(Protocol):
    """One child that logs in to a relay, and what it can be asked once the relay has admitted it."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...

    @property
    def watched(self) -> Sequence[int]:
        """Give the descriptors that are readable when there is news; without any, ``is_admitted`` has to be polled."""
        ...

    def is_admitted(self) -> bool:
        """Tell whether the relay has admitted us; never blocks."""
        ...

    def host_key_at(self) -> float | None:
        """Tell when (``time.monotonic``) a pinned host key was shown, or now where that is all that is known; None before that."""
        ...

    def ask(self, forward: Forward, place: Target) -> bool:
        """Ask the relay for one forward to an address (never a name: nobody resolves it again), and wait for the answer."""
        ...

    def hello(self) -> bytes:
        """Ask the relay why it refused a forward, and give what it says; empty where it says nothing."""
        ...

    def diagnosis(self) -> str | None:
        """Say why the child, which has ended, was not admitted; None where it cannot know, as it met no SSH server."""
        ...

    def close(self) -> None:
        """Let go of what was held beside the process."""
        ...


class Dialer(Protocol):
    @property
    def way(self) -> str:
        """Name who dials."""
        ...

    def dial(self, dial: Dial, link: socket.socket) -> Connection:
        """Start a child that logs in over ``link``, which is the connection's from then on, and closed where this fails.

        Raises OSError or ValueError. To be called on a thread that lives as long as the agent.
        """
        ...


def dialer_for(config: Config, folder: Path) -> Dialer | None:
    """Choose who dials, by the configuration and what this device has right now; None where it has nothing."""
    has_ssh = os.access(config.ssh_program, os.X_OK)
    if config.tunnel != "paramiko" and has_ssh:
        from doorward_agent.edges.ssh_dialer import SshDialer

        return SshDialer(config, folder)
    if config.tunnel != "ssh" and find_spec("paramiko") is not None:
        from doorward_agent.edges.paramiko_dialer import ParamikoDialer

        return ParamikoDialer(config, folder)
    return None


def refusal_of(connection: Connection, forward: Forward, place: Target) -> str | None:
    """Ask until the forward is granted (None) or the relay gives another reason than an old connection."""
    relay_code = ""
    for _ in range(FORWARD_TRIES):
        if connection.ask(forward, place):
            return None
        relay_code = _relay_code(connection.hello())
        if relay_code != "relay.port-freed":
            break
    return relay_code


def _relay_code(said: bytes) -> str:
    """Read the relay's reason; one that does not say (a plain relay) gives an empty code."""
    try:
        answer = json.loads(said[:4096].partition(b"\n")[0])
    except ValueError:
        return ""
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code.startswith("relay.") and len(code) <= 60 else ""


def why_not_admitted(connection: Connection, addresses: Sequence[Address]) -> str:
    """Say as a reason code why a child ended before the relay at these addresses admitted us; asks no resolver."""
    return connection.diagnosis() or reachability(addresses)
