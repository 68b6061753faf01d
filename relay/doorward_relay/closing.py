"""Closing sessions: end their connections until nothing listens any more, and say how it went.

One task for each session that is closing; whoever asks again waits for the same one, and a session that could not be
closed is tried anew. Knows no grants' rules. Used by ``runtime``; protocol.md §7 gives the limit.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact

from doorward_relay.contracts import PAUSE_S, Connections, KernelUnread
from doorward_relay.ledger import Ledger
from doorward_relay.view import Listener, Tunnel, View

LIMIT_S: Final = 10.0
"""An end is answered within this, closed or not."""


@dataclass(slots=True)
class Closings:
    """Sessions that are being closed.

    Attributes:
        former: gives connections that held a session's ports at an earlier look.
        tell: takes each outcome for the chain.
    """

    connections: Connections
    former: Callable[[SessionId, View], Iterable[Tunnel]]
    tell: Callable[[Fact], None]
    _tasks: dict[SessionId, "asyncio.Task[bool]"] = field(default_factory=dict)
    _closing: dict[SessionId, frozenset[int]] = field(default_factory=dict)
    _failed: dict[SessionId, tuple[Grant, str]] = field(default_factory=dict)

    @property
    def ports(self) -> frozenset[int]:
        """Give the ports that are being closed: who still listens there is on the way out, and has us after it."""
        return frozenset().union(*self._closing.values())

    def begin(self, grant: Grant, why: str) -> None:
        """Begin to close a session; returns at once."""
        task = asyncio.get_running_loop().create_task(self._close(grant, why), name=f"close {grant.session}")
        self._tasks[grant.session] = task
        self._closing[grant.session] = frozenset(forward.port for forward in grant.forwards)
        task.add_done_callback(lambda _: self._over(grant.session))

    async def is_closed(self, session: SessionId) -> bool:
        """Wait for a session's closing, trying anew what failed before; true for one that is not closing."""
        if session in self._failed and session not in self._tasks:
            self.begin(*self._failed[session])
        task = self._tasks.get(session)
        return task is None or await asyncio.shield(task)

    def _over(self, session: SessionId) -> None:
        self._tasks.pop(session, None)
        self._closing.pop(session, None)

    async def _close(self, grant: Grant, why: str) -> bool:
        left = await self._see_free(grant)
        held_by = list(self.connections.names_of(left))
        data = {"why": why, "ports_free": not left, "held_by": held_by}
        self.tell(Fact("grant.ended", grant.session, grant.device, data))
        self._failed.pop(grant.session, None)
        if left:
            self._failed[grant.session] = (grant, why)
        return not left

    async def _see_free(self, grant: Grant) -> tuple[Listener, ...]:
        """End connections until nothing listens on the session's ports; gives what still does at the limit, once that can be seen."""
        ports = tuple(forward.port for forward in grant.forwards)
        deadline = time.monotonic() + LIMIT_S
        while True:
            with suppress(KernelUnread):
                view = self.connections.look()
                self.connections.end((*view.holders_of(ports), *self.former(grant.session, view)))
                left = self.connections.listening(ports)
                if not left or time.monotonic() > deadline:
                    return left
            await asyncio.sleep(PAUSE_S)


def busy(connections: Connections, ledger: Ledger, ports: tuple[int, ...]) -> dict[int, bool]:
    """Say who listens on ports that a grant asks for; a device's listener without a live grant is ended first, as surplus."""
    if not connections.listening(ports):
        return {}  # as nearly always; walking all processes would cost each opening 15 ms
    orphaned = [port for port in ports if ledger.session_of_port(port) is None]
    surplus = connections.look().holders_of(orphaned)
    connections.end(surplus)
    deadline = time.monotonic() + (PAUSE_S if surplus else 0)
    while (left := connections.listening(ports)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S / 10)
    return {one.port: one.is_devices for one in left}
