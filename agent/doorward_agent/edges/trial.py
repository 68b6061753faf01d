"""Trying the way to a relay, step by step and timed: name, port, host key, log-in, and a forward that has to be refused.

Uses the dialers of real tunnels, in a folder of its own, so that a rehearsal and a live tunnel know nothing of each other. The
child that dials is gone when the last step is told. To be called on a thread that lives until then (``children``).
"""

import binascii
import contextlib
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final

from doorward_protocol.orders import Forward, RelayRoute
from doorward_protocol.rehearsal import GRANTED, Rehearsal, Rehearsed, Step
from doorward_protocol.targets import Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children
from doorward_agent.edges.connecting import relay_link
from doorward_agent.edges.dialling import Connection, dialer_for, why_not_admitted
from doorward_agent.edges.reachability import Address, resolved

POLL_S: Final = 0.004
SLOW_POLL_S: Final = 0.05
QUICK_S: Final = 1.0
"""So long a dial is looked at often, as a tunnel's is."""
ANSWER_LIMIT_S: Final = 9.0
"""A no that took longer is none: the dialers give up on an answer after ten seconds, and say no then, too."""
NOWHERE: Final = Target("127.0.0.1", 1)
"""The device's place that a forward would lead to if the relay wrongly granted it."""


@dataclass(frozen=True, slots=True)
class Trying:
    """With what is tried.

    Attributes:
        folder: the dial's own; its path may be long.
        stopping: set when the agent ends: nothing more is tried then.
    """

    config: Config
    folder: Path
    stopping: Event


def tried(trying: Trying, rehearsal: Rehearsal) -> Iterator[Rehearsed]:
    """Try one relay after the other until a door would open; tells how far it came after each step."""
    for route in rehearsal.relays:
        trial = _Trial(trying, rehearsal, route)
        yield from trial.run()
        if trial.so_far.code in (None, GRANTED):
            return


@dataclass(slots=True)
class _Trial:
    """One relay, and how it has gone so far."""

    trying: Trying
    rehearsal: Rehearsal
    route: RelayRoute
    steps: list[Step] = field(default_factory=list)
    addresses: Sequence[Address] = ()
    way: str | None = None
    opens_in_ms: int | None = None

    @property
    def so_far(self) -> Rehearsed:
        return Rehearsed(self.route.relay, self.way, tuple(self.steps), self.opens_in_ms)

    def run(self) -> Iterator[Rehearsed]:
        with contextlib.closing(self._tried()) as steps:
            for step in steps:
                self.steps.append(step)
                yield self.so_far
                if step.code is not None or self.trying.stopping.is_set():
                    return

    def _tried(self) -> Generator[Step, None, None]:
        began = time.monotonic()
        self.addresses = resolved(self.route.host, self.route.port)
        yield Step("resolve", _ms_since(began), None if self.addresses else "tunnel.unresolved")
        began = time.monotonic()
        link = relay_link(self.addresses, self.trying.config.tunnel_limit_s)
        if link is None:
            yield Step("connect", _ms_since(began), "tunnel.unreachable")
            return
        with link:
            yield Step("connect", _ms_since(began))
            yield from self._dialled(link)

    def _dialled(self, link: socket.socket) -> Iterator[Step]:
        dialer = dialer_for(self.trying.config, self.trying.folder)
        if dialer is None:
            yield Step("host-key", 0, "tunnel.no-ssh")
            return
        self.way, began = dialer.way, time.monotonic()
        try:
            connection = dialer.dial(Dial(0, self.rehearsal.session, self.route, ()), link)
        except (OSError, ValueError, binascii.Error):
            yield Step("host-key", _ms_since(began), "tunnel.unreachable")
            return
        try:
            yield from self._through(connection, began)
        finally:
            children.end(connection.process)
            connection.close()

    def _through(self, connection: Connection, began: float) -> Iterator[Step]:
        seen_at, failure = self._watched(connection, began)
        logged_in = time.monotonic()
        if failure is not None and seen_at is None:
            yield Step("host-key", _ms_since(began), failure)
            return
        yield Step("host-key", None if seen_at is None else _ms(seen_at - began))
        yield Step("log-in", _ms(logged_in - (seen_at or began)), failure)
        yield self._refused(connection, began)

    def _watched(self, connection: Connection, began: float) -> tuple[float | None, str | None]:
        """Wait until the relay has admitted us or not; gives when the right host key was seen, and why we are not in."""
        seen_at, failure = None, None
        while failure is None and not connection.is_admitted():
            seen_at = seen_at or connection.host_key_at()
            failure = self._failure(connection, time.monotonic() - began)
            self.trying.stopping.wait(POLL_S if time.monotonic() - began < QUICK_S else SLOW_POLL_S)
        return seen_at or connection.host_key_at(), failure

    def _failure(self, connection: Connection, lasted_s: float) -> str | None:
        if connection.process.poll() is not None:
            return why_not_admitted(connection, self.addresses)
        is_over = lasted_s > self.trying.config.tunnel_limit_s or self.trying.stopping.is_set()
        return "tunnel.timeout" if is_over else None

    def _refused(self, connection: Connection, began: float) -> Step:
        """Ask for a port that is granted to nobody: a no is what a rehearsal is for."""
        asked = time.monotonic()
        code = None
        if connection.ask(Forward("rehearsal", "ssh", "*", self.rehearsal.port), NOWHERE):
            children.end(connection.process)  # at once: a port stands open
            code = GRANTED
        elif connection.process.poll() is not None:
            code = "tunnel.lost"
        elif time.monotonic() - asked > ANSWER_LIMIT_S:
            code = "tunnel.timeout"
        reached_ms = sum(step.ms or 0 for step in self.steps if step.step in ("resolve", "connect"))
        self.opens_in_ms = reached_ms + _ms_since(began) if code is None else None
        return Step("refusal", _ms_since(asked), code)


def _ms_since(began: float) -> int:
    return _ms(time.monotonic() - began)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
