"""The probe's loop: ask each open door for its banner, and tell when the answer changes.

One task for each session with a tunnel: eager until the door first answers (a device starts tunnel and door side by side,
so the first tries come too early), then every 10 seconds, eager again as soon as it stops or is doubted. Used by ``runtime``.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact

from doorward_relay.edges.probing import Probed, probe

FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 1.0
STEADY_S: Final = 10.0
"""How long green may outlive a device that is gone without a word, besides the probe's own limit; as the console's worker
looks at plain relays. A look costs the device's sshd some 30 ms."""
PATIENCE_S: Final = 5.0
"""A door that never answered is called silent only after this long."""
_OWN_KEPT_S: Final = 20.0
"""How long the addresses of our own probes are told from visitors'; longer than the kernel shows them."""

Tell = Callable[[Fact], None]


@dataclass(slots=True)
class Doors:
    """Doors that are being watched.

    Attributes:
        host: where engineers connect.
        tell: takes each fact for the chain.
    """

    host: str
    tell: Tell
    _tasks: dict[SessionId, asyncio.Task[None]] = field(default_factory=dict)
    _answered: dict[SessionId, bool] = field(default_factory=dict)
    _doubts: dict[SessionId, asyncio.Event] = field(default_factory=dict)
    _unanswered: dict[SessionId, int] = field(default_factory=dict)
    _own: dict[tuple[str, int], float] = field(default_factory=dict)

    def watch(self, grant: Grant) -> None:
        """Begin to probe the door of a session behind a tunnel that has just come up; its answer is news in any case."""
        self._cancel(grant.session)
        self._answered.pop(grant.session, None)
        name = f"probe {grant.session}"
        self._tasks[grant.session] = asyncio.get_running_loop().create_task(self._keep_probing(grant), name=name)

    def doubt(self, session: SessionId) -> None:
        """Probe a session's door now: its device has become silent."""
        if session in self._doubts:
            self._doubts[session].set()

    @property
    def unanswered(self) -> Mapping[SessionId, int]:
        """How many probes in a row a session's door has left without an answer of any kind."""
        return self._unanswered

    def lost(self, grant: Grant) -> None:
        """Note that the session's tunnel is gone while the session lives."""
        if self._answered.get(grant.session):
            self._say(grant, Probed("probe.refused", 0, None))
        self._cancel(grant.session)

    def forget(self, session: SessionId) -> None:
        """Stop probing: the session is over."""
        self._cancel(session)
        self._answered.pop(session, None)

    def is_own(self, address: str, port: int) -> bool:
        """Tell whether a connection is a probe of ours."""
        oldest = time.monotonic() - _OWN_KEPT_S
        self._own = {key: at for key, at in self._own.items() if at > oldest}
        return (address, port) in self._own

    async def ask(self, grant: Grant) -> Probed:
        """Probe once, and say so when the port is open on loopback but not where engineers connect."""
        forward = grant.forwards[0]
        found = await probe(self._address(forward), forward.port, grant.banner, self._dialling)
        if found.code == "probe.refused" and forward.bind == "*":
            near = await probe("127.0.0.1", forward.port, grant.banner, self._dialling)
            found = Probed("probe.not-public", found.ms, None) if near.is_open else found
        if grant.session in self._tasks:
            self._unanswered[grant.session] = self._unanswered.get(grant.session, 0) + 1 if found.is_silent else 0
        if found.is_open or self._answered.get(grant.session):
            self._say(grant, found)
        return found

    def _address(self, forward: GrantedForward) -> str:
        return self.host if forward.bind == "*" else "127.0.0.1"

    def _dialling(self, address: str, port: int) -> None:
        self._own[address, port] = time.monotonic()

    async def _keep_probing(self, grant: Grant) -> None:
        pause_s, began = FIRST_PAUSE_S, time.monotonic()
        while True:
            found = await self.ask(grant)
            if not found.is_open and time.monotonic() - began > PATIENCE_S:
                self._say(grant, found)
            await self._wait(grant.session, STEADY_S if found.is_open else pause_s)
            pause_s = FIRST_PAUSE_S if found.is_open else min(pause_s * 2, LONGEST_PAUSE_S)

    async def _wait(self, session: SessionId, pause_s: float) -> None:
        """Wait, or until it is doubted whether the device is still there."""
        doubt = self._doubts[session] = asyncio.Event()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(doubt.wait(), pause_s)

    def _say(self, grant: Grant, found: Probed) -> None:
        """Tell a change of a session that is being watched."""
        if grant.session not in self._tasks or found.is_open == self._answered.get(grant.session):
            return
        self._answered[grant.session] = found.is_open
        verb = "door.answered" if found.is_open else "door.silent"
        data = {"code": found.code, "ms": found.ms, "banner": found.banner, "port": grant.forwards[0].port}
        self.tell(Fact(verb, grant.session, grant.device, data))

    def _cancel(self, session: SessionId) -> None:
        self._doubts.pop(session, None)
        self._unanswered.pop(session, None)
        task = self._tasks.pop(session, None)
        if task is not None:
            task.cancel()
