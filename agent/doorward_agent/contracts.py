"""What ``runtime`` needs of the world, as Protocol classes.

``edges/`` holds the real ones, ``tests/worlds/`` those in memory; the same tests, ``tests/agent/test_contracts*.py``, run against
both. Nothing here blocks but where it says so: whoever takes long answers later, with an event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from doorward_protocol.ids import CommandId, SessionId
from doorward_protocol.orders import Forward, RelayRoute
from doorward_protocol.records import Head
from doorward_protocol.rehearsal import Rehearsal
from doorward_protocol.targets import ForwardTest, Offered

from doorward_agent.events import Event


class Post(Protocol):
    """Where edges put their events; never blocks for long, may drop a message when nobody reads."""

    def __call__(self, event: Event, /) -> None: ...


class Clock(Protocol):
    def boottime_ms(self) -> int:
        """Read the clock that counts suspend and never jumps."""
        ...

    def wall_ms(self) -> int:
        """Read the device's own idea of the time, which may be wrong by years."""
        ...


class System(Protocol):
    @property
    def boot(self) -> str: ...

    def facts(self) -> Mapping[str, str]: ...

    @property
    def forwards(self) -> tuple[Offered, ...]:
        """Name the forwards that the device's configuration allows."""
        ...

    def chance(self) -> float: ...

    def nonce(self) -> str: ...

    def free_port(self) -> int: ...


class Broker(Protocol):
    """Says ``BrokerConnected`` or ``BrokerLost`` for each ``connect``, and ``MessageArrived`` in between."""

    def connect(self, generation: int) -> None: ...

    def disconnect(self) -> None: ...

    def publish(self, leaf: str, payload: bytes, *, retain: bool = False, record: int | None = None) -> None:
        """Send with QoS 1; ``record`` asks for ``RecordDelivered`` with that number. Silent while not connected."""
        ...


class Runner(Protocol):
    """Answers each call with one event: ``DoorOpened`` or ``DoorFailed``, ``DoorClosed`` or ``DoorNotClosed``, ``RunnerReported``.

    Calls are worked off one after the other, so a close never overtakes an open. Commands have a line of their own, for a hook
    may take a minute; each of their calls is answered with ``CommandTold``.
    """

    def open_door(self, session: SessionId, envelope: bytes, port: int) -> None: ...

    def close_door(self, session: SessionId) -> None: ...

    def report(self) -> None: ...

    def run_command(self, command: CommandId, envelope: bytes) -> None: ...

    def tell_command(self) -> None: ...

    def hand_settings(self, what: str, envelope: bytes) -> None:
        """Hand on an order of part ``what``; answered with ``SettingsTold``, in the line of commands."""
        ...

    def tell_settings(self) -> None: ...

    def nonce(self) -> str | None:
        """Read the first line of the runner's nonce file; None where there is none."""
        ...

    def nonce_age_s(self) -> float | None: ...

    def has_listener(self, port: int) -> bool:
        """Tell at once, without asking the runner, whether anything listens on a door's port; True where that cannot be seen."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Dial:
    """One attempt at a tunnel."""

    attempt: int
    session: SessionId
    route: RelayRoute
    forwards: tuple[Forward, ...]


class Tunnel(Protocol):
    """Says ``TunnelOpened`` or ``TunnelFailed`` for a dial, and ``TunnelEnded`` for each ``end``, even if nothing was there.

    Behind a tunnel that is up it says ``ForwardTold`` for each named forward, and again when one that was not opened fares otherwise.
    """

    def open(self, dial: Dial) -> None: ...

    def forward(self, attempt: int, port: int) -> None: ...

    def end(self, attempt: int) -> None: ...

    def stop(self) -> None: ...


class Supervisor(Protocol):
    """Whoever starts the agent again when it hangs or ends."""

    def turn(self) -> float:
        """Say that the main loop turns; gives the seconds after which it has to turn again, if only to say so."""
        ...

    def stopping(self) -> None: ...


class Rehearser(Protocol):
    """Says ``RehearsalTold`` after each step of a rehearsal or a forward's test, and once with its outcome."""

    def rehearse(self, command: CommandId, rehearsal: Rehearsal | ForwardTest) -> None:
        """Begin one; it waits for one that is still under way."""
        ...

    def stop(self) -> None: ...


class Journal(Protocol):
    """The device's records, payload by payload. Never raises for a full disk: it keeps what it can and says so in the log."""

    @property
    def head(self) -> Head: ...

    @property
    def first(self) -> int:
        """Number of the oldest record still held; 0 when empty."""
        ...

    @property
    def size_bytes(self) -> int: ...

    def append(self, payload: bytes) -> None:
        """Add the record after ``head``; it is on the disk when this returns."""
        ...

    def resume(self, head: Head, kept: int) -> None:
        """Go on after ``head``, as if nothing had been written after number ``kept``: the numbers between are taken by others."""
        ...

    def after(self, n: int, most: int) -> Sequence[tuple[int, bytes]]:
        """Give up to ``most`` records that follow number ``n``, in their order."""
        ...

    def trim(self, receipted: int, older_than: int) -> None:
        """Drop records up to ``receipted`` that are older than this console time in ms."""
        ...


class Store(Protocol):
    """Small documents, each written whole; ``durable`` ones survive power loss, the others a restart within a boot."""

    def load(self, name: str) -> Mapping[str, Any] | None: ...

    def save(self, name: str, document: Mapping[str, Any], *, durable: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Edges:
    """The world, as ``contracts`` describes it."""

    clock: Clock
    system: System
    broker: Broker
    runner: Runner
    tunnel: Tunnel
    rehearser: Rehearser
    journal: Journal
    store: Store
