"""Trying the way to a named target, step by step and timed: allowed, resolved, connected to, and what it says first.

The name is resolved once; each address is judged by the configuration (``forwarding``), and the first that may be is the one
that is connected to. Used before a forward is opened, and for tests that somebody asks for.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.rehearsal import Step
from doorward_protocol.targets import LONGEST_BANNER, Target, Tried

from doorward_agent import forwarding
from doorward_agent.config import AllowedForward
from doorward_agent.edges.reachability import Lookup, connected, resolved

CONNECT_LIMIT_S: Final = 5.0
BANNER_LIMIT_S: Final = 2.0
"""Mail and database servers greet within a fraction of it; a web server never does."""


@dataclass(slots=True)
class TargetTrial:
    """One try at one target, and how far it came.

    Attributes:
        target: the one that was ordered; None for whatever the configuration says.
        place: the address that was judged and connected to; None before that.
    """

    name: str
    target: str | None
    allowed: Mapping[str, AllowedForward]
    lookup: Lookup = resolved
    steps: list[Step] = field(default_factory=list)
    place: Target | None = None
    banner: str = ""
    _refused: str = ""
    _connection: socket.socket | None = None

    @property
    def tried(self) -> Tried:
        known = self.allowed.get(self.name)
        address = self._refused if self.place is None else self.place.host
        return Tried(self.name, known.target if known else "", address, tuple(self.steps), self.banner)

    def run(self, *, with_banner: bool) -> Iterator[Tried]:
        """Try, and give how far it has come after each step; the connection is closed at the end."""
        tries = [self._allow, self._resolve, self._connect, *([self._greet] if with_banner else [])]
        names = ("allow", "resolve", "connect", "banner")
        try:
            for name, attempt in zip(names, tries, strict=False):
                began = time.monotonic()
                code = attempt()
                self.steps.append(Step(name, round((time.monotonic() - began) * 1000), code))
                yield self.tried
                if code is not None:
                    return
        finally:
            if self._connection is not None:
                self._connection.close()

    def _allow(self) -> str | None:
        known = self.allowed.get(self.name)
        wanted = self.target if self.target is not None or known is None else known.target
        return forwarding.refusal_of(self.name, wanted or "", self.allowed)

    def _resolve(self) -> str | None:
        allowed = self.allowed[self.name]
        target = forwarding.place_of(allowed.target)
        addresses = () if target is None else self.lookup(target.host, target.port)
        if target is None or not addresses:
            return "forward.unresolved"
        hosts = [str(address[0]) for *_, address in addresses]
        chosen = next((one for one in hosts if forwarding.may_lead_to(one, allowed, is_own=is_own(one))), None)
        if chosen is None:
            self._refused = hosts[0]
            return "forward.address-not-allowed"
        self.place = Target(chosen, target.port)
        return None

    def _connect(self) -> str | None:
        if self.place is None:
            raise AssertionError("nothing was resolved")
        self._connection = connected(resolved(*self.place), CONNECT_LIMIT_S)  # of an address that is only its reading
        return None if self._connection else "forward.unreachable"

    def _greet(self) -> str | None:
        """Read what the target says first; silence is no fault."""
        if self._connection is not None:
            self._connection.settimeout(BANNER_LIMIT_S)
            try:
                said = self._connection.recv(LONGEST_BANNER)
            except OSError:
                said = b""
            self.banner = "".join(chr(one) for one in said if 32 <= one < 127)
        return None


def is_own(address: str) -> bool:
    """Tell whether an address is this machine's: the kernel would speak to it from itself. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((address, 9))
            return bool(asked.getsockname()[0] == address.partition("%")[0])
    except OSError:
        return False  # no way leads there, so nothing will connect to it either
