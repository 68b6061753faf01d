"""The probe's calendar: ask each open door for its banner, and tell when the answer changes.

Eager until a door first answers (a device starts tunnel and door side by side, so the first tries come too early), then every
10 seconds, eager again as soon as it stops or is doubted. Between looks a door costs a timer and no task, for there may be
thousands; their steady looks keep a distance from one another, so that they never stand in the engineers' way together.
Used by ``runtime``.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
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
APART_S: Final = 0.02
"""Between one steady look and the next. A look costs an embedded relay 2 ms; 400 devices that came back in one second would
else be looked at in one second, every ten. With more than 500 doors each is looked at more rarely; a device that falls
silent is doubted after 12 s however many there are."""
PATIENCE_S: Final = 5.0
"""A door that never answered is called silent only after this long."""
_OWN_KEPT_S: Final = 20.0
"""How long the addresses of our own probes are told from visitors'; longer than the kernel shows them."""

Tell = Callable[[Fact], None]


@dataclass(slots=True)
class _Watched:
    """A door behind a tunnel that is up; between two looks it waits, during one it is asked."""

    grant: Grant
    since: float
    pause_s: float = FIRST_PAUSE_S
    has_answered: bool | None = None
    waiting: asyncio.TimerHandle | None = None
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Doors:
    """Doors that are being watched.

    Attributes:
        host: where engineers connect.
        tell: takes each fact for the chain.
        steady_s: between looks at a door that answers.
    """

    host: str
    tell: Tell
    steady_s: float = STEADY_S
    _watched: dict[SessionId, _Watched] = field(default_factory=dict)
    _unanswered: dict[SessionId, int] = field(default_factory=dict)
    _last_steady: float = 0.0
    _own: dict[tuple[str, int], float] = field(default_factory=dict)

    def watch(self, grant: Grant) -> None:
        """Begin to probe the door of a session behind a tunnel that has just come up; its answer is news in any case."""
        self.forget(grant.session)
        one = self._watched[grant.session] = _Watched(grant, time.monotonic())
        self._look(one)

    def doubt(self, session: SessionId) -> None:
        """Probe a session's door now: its device has become silent."""
        one = self._watched.get(session)
        if one is not None and one.waiting is not None:
            one.waiting.cancel()
            self._look(one)

    @property
    def unanswered(self) -> Mapping[SessionId, int]:
        """How many probes in a row a session's door has left without an answer of any kind; without those that left none."""
        return self._unanswered

    def lost(self, grant: Grant) -> None:
        """Note that the session's tunnel is gone while the session lives."""
        one = self._watched.get(grant.session)
        if one is not None and one.has_answered:
            self._say(one, Probed("probe.refused", 0, None))
        self.forget(grant.session)

    def forget(self, session: SessionId) -> None:
        """Stop probing: the session is over."""
        self._unanswered.pop(session, None)
        one = self._watched.pop(session, None)
        if one is not None and one.waiting is not None:
            one.waiting.cancel()
        if one is not None and one.asking is not None:
            one.asking.cancel()

    def is_own(self, address: str, port: int) -> bool:
        """Tell whether a connection is a probe of ours."""
        at = self._own.get((address, port))
        return at is not None and time.monotonic() - at <= _OWN_KEPT_S

    async def ask(self, grant: Grant) -> Probed:
        """Probe once, and say so when the port is open on loopback but not where engineers connect."""
        forward = grant.forwards[0]
        found = await probe(self._address(forward), forward.port, grant.banner, self._dialling)
        if found.code == "probe.refused" and forward.bind == "*":
            near = await probe("127.0.0.1", forward.port, grant.banner, self._dialling)
            found = Probed("probe.not-public", found.ms, None) if near.is_open else found
        one = self._watched.get(grant.session)
        if one is not None:
            self._count_silence(grant.session, found)
            if found.is_open or one.has_answered:
                self._say(one, found)
        return found

    def _count_silence(self, session: SessionId, found: Probed) -> None:
        if found.is_silent:
            self._unanswered[session] = self._unanswered.get(session, 0) + 1
        else:
            self._unanswered.pop(session, None)

    def _address(self, forward: GrantedForward) -> str:
        return self.host if forward.bind == "*" else "127.0.0.1"

    def _dialling(self, address: str, port: int) -> None:
        """Remember who is ours, the newest last; the kernel gives a port again, so one is moved there."""
        now = time.monotonic()
        self._own.pop((address, port), None)
        self._own[address, port] = now
        while now - self._own[oldest := next(iter(self._own))] > _OWN_KEPT_S:
            del self._own[oldest]

    def _look(self, one: _Watched) -> None:
        one.waiting = None
        looking = self._looked(one)
        one.asking = asyncio.get_running_loop().create_task(looking, name=f"probe {one.grant.session}")

    async def _looked(self, one: _Watched) -> None:
        found = await self.ask(one.grant)
        if not found.is_open and time.monotonic() - one.since > PATIENCE_S:
            self._say(one, found)
        pause_s = self._steady_s() if found.is_open else one.pause_s
        one.pause_s = FIRST_PAUSE_S if found.is_open else min(one.pause_s * 2, LONGEST_PAUSE_S)
        one.asking = None
        one.waiting = asyncio.get_running_loop().call_later(pause_s, self._look, one)

    def _steady_s(self) -> float:
        """Give the time until a door's next steady look, at a distance from the one before it."""
        now = time.monotonic()
        self._last_steady = max(now + self.steady_s, self._last_steady + APART_S)
        return self._last_steady - now

    def _say(self, one: _Watched, found: Probed) -> None:
        """Tell a change."""
        if found.is_open == one.has_answered:
            return
        one.has_answered = found.is_open
        verb = "door.answered" if found.is_open else "door.silent"
        grant = one.grant
        data = {"code": found.code, "ms": found.ms, "banner": found.banner, "port": grant.forwards[0].port}
        self.tell(Fact(verb, grant.session, grant.device, data))
