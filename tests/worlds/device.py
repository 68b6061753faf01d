"""A device's world in memory: clocks that tests move, a broker, a runner, a relay and a disk that do as they are told.

Everything implements ``doorward_agent.contracts``. Edges answer at the next ``World.settle``, never while they are called, as
the real ones do.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from doorward_agent import events
from doorward_agent.contracts import Dial, Edges
from doorward_agent.events import Event
from doorward_agent.identity import Identity
from doorward_agent.runtime import Runtime
from doorward_agent.signing import Signing
from doorward_protocol.asked import Asked
from doorward_protocol.asks import Ask, ask_from_bytes
from doorward_protocol.commands import Outcome, RunCommand
from doorward_protocol.envelope import decode
from doorward_protocol.ids import CommandId, DeviceId, OrderId, ProjectId, SessionId, id_from_bytes
from doorward_protocol.orders import (
    ApplySettings,
    Body,
    ConfirmSettings,
    Forward,
    Login,
    OpenDoor,
    Order,
    RelayRoute,
    order_from_payload,
    payload_from_order,
    text_from_body,
)
from doorward_protocol.receipts import Receipt, payload_from_receipt
from doorward_protocol.records import Head, Record, head_after, record_from_payload
from doorward_protocol.rehearsal import Rehearsal, Rehearsed, Step, result_from_rehearsed
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey
from doorward_protocol.targets import ForwardTest, Offered

MINUTE_MS = 60_000
YEAR_MS = 365 * 24 * 60 * MINUTE_MS
CONSOLE_NOW = 1_790_000_000_000


class Inbox(Protocol):
    """Where edges put their events: a world's deque, or the queue of a fleet's device."""

    def append(self, event: Event, /) -> None: ...


@dataclass(slots=True)
class WorldClock:
    """Moves only when told."""

    boot_ms: int = 1_000_000
    wall_offset_ms: int = CONSOLE_NOW

    def boottime_ms(self) -> int:
        return self.boot_ms

    def wall_ms(self) -> int:
        return self.boot_ms + self.wall_offset_ms


@dataclass(slots=True)
class WorldSystem:
    """Counts instead of rolling dice."""

    boot: str = "b" * 32
    _count: int = 0

    def facts(self) -> Mapping[str, str]:
        return {"hostname": "world", "os": "memory", "arch": "none", "firmware": "1"}

    @property
    def forwards(self) -> tuple[Offered, ...]:
        return (Offered("database", "tcp:10.0.0.5:5432"),)

    def chance(self) -> float:
        return 0.5

    def nonce(self) -> str:
        self._count += 1
        return f"nonce{self._count:017d}"

    def free_port(self) -> int:
        self._count += 1
        return 40_000 + self._count


@dataclass(slots=True)
class WorldBroker:
    """Delivers while ``is_up``; keeps what was published."""

    came: Inbox
    is_up: bool = True
    generation: int | None = None
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def connect(self, generation: int) -> None:
        self.generation = generation if self.is_up else None
        self.came.append(events.BrokerConnected(generation) if self.is_up else events.BrokerLost(generation, "down"))

    def disconnect(self) -> None:
        self.generation = None

    def publish(self, leaf: str, payload: bytes, *, retain: bool = False, record: int | None = None) -> None:  # noqa: ARG002  the contract's
        if self.generation is None:
            return
        self.published.append((leaf, payload))
        if record is not None:
            self.came.append(events.RecordDelivered(self.generation, record))

    def drop(self) -> None:
        """Break the connection and refuse the next ones."""
        self.is_up = False
        if self.generation is not None:
            self.came.append(events.BrokerLost(self.generation, "dropped"))
            self.generation = None


@dataclass(slots=True)
class WorldRunner:
    """Opens and closes at once; ``refusals`` are used up first."""

    came: Inbox
    refusals: list[str] = field(default_factory=list)
    session: SessionId | None = None
    port: int = 0
    calls: list[str] = field(default_factory=list)
    is_there: bool = True
    ran: list[str] = field(default_factory=list)
    verbs: tuple[str, ...] = ("message", "reboot", "settings-apply")
    settings: events.SettingsTold = field(default_factory=lambda: events.SettingsTold(""))
    outcome: Outcome | None = field(default_factory=lambda: Outcome(None, 0))
    nonce_now: str = "runner-nonce"

    def open_door(self, session: SessionId, envelope: bytes, port: int) -> None:  # noqa: ARG002  the contract's
        self.calls.append("order")
        code = self.refusals.pop(0) if self.refusals else None if self.is_there else "runner.unavailable"
        if code is not None:
            self.came.append(events.DoorFailed(session, code))
            return
        self.port = self.port if self.session == session else port
        self.session = session
        self.came.append(events.DoorOpened(session, self.port, "cgroup"))

    def close_door(self, session: SessionId) -> None:
        self.calls.append("close")
        if not self.is_there:
            self.came.append(events.DoorNotClosed(session, "runner.unavailable"))
            return
        self.session, self.port = None, 0
        self.came.append(events.DoorClosed(session))

    def die(self) -> None:
        """Lose the door, while nobody is told."""
        self.session, self.port = None, 0

    def report(self) -> None:
        code = None if self.is_there else "runner.unavailable"
        session = self.session if self.is_there else None
        port, verbs = (self.port or None, self.verbs) if self.is_there else (None, ())
        self.came.append(events.RunnerReported(session, port, code, verbs=verbs))

    def run_command(self, command: CommandId, envelope: bytes) -> None:  # noqa: ARG002  the contract's
        """Run at most once, as the runner's memory sees to; ``refusals`` are used up first."""
        self.calls.append("command")
        code = self.refusals.pop(0) if self.refusals else None if self.is_there else "runner.unavailable"
        if code is None and self.ran[-1:] != [command]:
            self.ran.append(command)
        self.came.append(events.CommandTold("", None, code) if code else self._told())

    def tell_command(self) -> None:
        self.came.append(self._told() if self.is_there else events.CommandTold("", None, "runner.unavailable"))

    def _told(self) -> events.CommandTold:
        last = self.ran[-1] if self.ran else ""
        return events.CommandTold(last, self.outcome if last else None)

    def hand_settings(self, what: str, envelope: bytes) -> None:
        """Answer with ``settings``, as a test put it there; ``refusals`` are used up first."""
        self.calls.append(what)
        code = self.refusals.pop(0) if self.refusals else None if self.is_there else "runner.unavailable"
        if code is None:
            order = order_from_payload(decode(envelope, expected="order").payload)
            at = (order.revision.epoch, order.revision.number, order.digest)
            told = events.SettingsTold(what, None, "trying", *at)
            self.settings = told if what == "settings" else replace(self.settings, asked=what, state="confirmed")
        self.came.append(events.SettingsTold(what, code) if code else self.settings)

    def tell_settings(self) -> None:
        silent = events.SettingsTold("", "runner.unavailable")
        self.came.append(replace(self.settings, asked="") if self.is_there else silent)

    def nonce(self) -> str | None:
        return self.nonce_now

    def nonce_age_s(self) -> float | None:
        return 1.0

    def has_listener(self, port: int) -> bool:
        return self.session is not None and self.port == port

    def stop(self) -> None:
        pass


@dataclass(slots=True)
class WorldTunnel:
    """Comes up once it knows the door's port; ``failures`` are used up first."""

    came: Inbox
    failures: list[str] = field(default_factory=list)
    dial: Dial | None = None
    dialled: list[Dial] = field(default_factory=list)
    door_port: int | None = None

    @property
    def is_up(self) -> bool:
        return self.dial is not None and self.door_port is not None

    def open(self, dial: Dial) -> None:
        self.dialled.append(dial)
        self.door_port = None
        if self.failures:
            self.came.append(events.TunnelFailed(dial.attempt, self.failures.pop(0)))
        else:
            self.dial = dial

    def forward(self, attempt: int, port: int) -> None:
        if self.dial is not None and self.dial.attempt == attempt:
            self.door_port = port
            self.came.append(events.TunnelOpened(attempt))

    def end(self, attempt: int) -> None:
        self.dial = self.door_port = None
        self.came.append(events.TunnelEnded(attempt))

    def stop(self) -> None:
        self.dial = self.door_port = None

    def lose(self) -> None:
        assert self.dial is not None
        self.came.append(events.TunnelFailed(self.dial.attempt, "tunnel.lost"))
        self.dial = self.door_port = None


@dataclass(slots=True)
class WorldRehearser:
    """Keeps what it was asked; a test says how it goes."""

    came: Inbox
    asked: list[tuple[CommandId, Rehearsal | ForwardTest]] = field(default_factory=list)

    def rehearse(self, command: CommandId, rehearsal: Rehearsal | ForwardTest) -> None:
        self.asked.append((command, rehearsal))

    def tell(self, *steps: Step, is_over: bool = True) -> None:
        command, rehearsal = self.asked[-1]
        assert isinstance(rehearsal, Rehearsal)
        rehearsed = Rehearsed(rehearsal.relays[0].relay, "ssh", steps, 150)
        outcome = Outcome(rehearsed.code, None, "", result_from_rehearsed(rehearsed), 160) if is_over else None
        self.came.append(events.RehearsalTold(command, rehearsed, outcome))

    def stop(self) -> None:
        pass


@dataclass(slots=True)
class WorldJournal:
    """Records in a list; what was lost of them is empty. A test takes the descriptors away with which they are read."""

    payloads: list[bytes] = field(default_factory=list)
    head: Head = field(default_factory=Head)
    is_readable: bool = True

    @property
    def first(self) -> int:
        return next((number for number, payload in enumerate(self.payloads, 1) if payload), 0)

    @property
    def size_bytes(self) -> int:
        return sum(len(payload) for payload in self.payloads)

    def append(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self.head = head_after(payload, self.head)

    def tear(self, count: int) -> None:
        """Lose the last records."""
        del self.payloads[-count:]
        self.head = record_from_payload(self.payloads[-1]).head if self.payloads else Head()

    def resume(self, head: Head, kept: int) -> None:
        del self.payloads[kept:]
        self.payloads += [b""] * (head.n - len(self.payloads))
        self.head = head

    def after(self, n: int, most: int) -> Sequence[tuple[int, bytes]]:
        self._read()
        held = [(number, payload) for number, payload in enumerate(self.payloads, 1) if number > n and payload]
        return held[:most]

    def trim(self, receipted: int, older_than: int) -> None:
        """Read, as one does who drops the oldest; drop nothing."""
        del receipted, older_than
        self._read()

    def _read(self) -> None:
        if not self.is_readable:
            raise OSError(24, "Too many open files")

    @property
    def verbs(self) -> list[str]:
        return [record_from_payload(payload).fact.verb for payload in self.payloads if payload]


@dataclass(slots=True)
class WorldStore:
    """Documents in two mappings; ``reboot`` empties the one that does not last."""

    durable: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    passing: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    is_full: bool = False

    def load(self, name: str) -> Mapping[str, Any] | None:
        return self.durable.get(name) or self.passing.get(name)

    def save(self, name: str, document: Mapping[str, Any], *, durable: bool) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        (self.durable if durable else self.passing)[name] = document


_PARTS = {RunCommand: "command", ApplySettings: "settings", ConfirmSettings: "confirm"}


def _id(kind: str, number: int) -> str:
    return id_from_bytes(kind, number.to_bytes(10, "big"))


@dataclass(slots=True)
class World:
    """One device and the console's side of it."""

    came: deque[Event] = field(default_factory=deque)
    clock: WorldClock = field(default_factory=WorldClock)
    system: WorldSystem = field(default_factory=WorldSystem)
    store: WorldStore = field(default_factory=WorldStore)
    journal: WorldJournal = field(default_factory=WorldJournal)
    grant: SigningKey = field(default_factory=SigningKey.generate)
    record: SigningKey = field(default_factory=SigningKey.generate)
    own: SigningKey = field(default_factory=SigningKey.generate)
    revision: int = 0
    orders: int = 0
    receipted: int = 0
    stored: dict[int, str | None] = field(default_factory=dict)
    answered: int = 0
    is_receipting: bool = True
    console_offset_ms: int = CONSOLE_NOW
    is_loadable: bool = True

    def __post_init__(self) -> None:
        self.broker = WorldBroker(self.came)
        self.runner = WorldRunner(self.came)
        self.tunnel = WorldTunnel(self.came)
        self.rehearser = WorldRehearser(self.came)
        self.identity = Identity(
            DeviceId(_id("d", 1)), ProjectId(_id("p", 1)), "pump", (self.grant.public,), (self.record.public,), "b", 1
        )
        self.start()

    broker: WorldBroker = field(init=False)
    runner: WorldRunner = field(init=False)
    tunnel: WorldTunnel = field(init=False)
    rehearser: WorldRehearser = field(init=False)
    identity: Identity = field(init=False)
    runtime: Runtime = field(init=False)
    signing: Signing = field(init=False)

    def start(self) -> None:
        """Start an agent on what is there."""
        edges = Edges(
            self.clock, self.system, self.broker, self.runner, self.tunnel, self.rehearser, self.journal, self.store
        )
        self.signing = Signing(self.identity, 28_800, "remote-admin", self.own.raw, self._loaded)
        self.runtime = Runtime(self.identity, self.signing, edges, "0", 8_388_608)
        self.runtime.start()
        self.settle()

    def _loaded(self) -> None:
        """Let the package compute; a test takes the descriptors away with which it is loaded."""
        if not self.is_loadable:
            raise OSError(24, "Too many open files")

    def crash(self) -> None:
        """Kill the agent: the tunnel dies with it, the door stays, the console sees the connection break."""
        self.came.clear()
        self.tunnel.stop()
        self.broker.generation = None

    def reboot(self) -> None:
        """Cut the power: nothing of the runtime folder, of the door and of the boot id is left."""
        self.crash()
        self.runner.session, self.runner.port = None, 0
        self.store.passing.clear()
        self.system.boot = "c" * 32
        self.clock.boot_ms = 5_000

    def settle(self) -> None:
        """Let everything that is due happen, without moving the clock."""
        for _ in range(1_000):
            self._answer_asks()
            if self.came:
                self.runtime.handle(self.came.popleft())
            else:
                self.runtime.fire_timers()
                if not self.came:
                    return
        raise AssertionError("the world does not come to rest")

    def _answer_asks(self) -> None:
        """Say, as a console does to every ask of a device with unsent records, how far they are stored."""
        new, self.answered = self.broker.published[self.answered :], len(self.broker.published)
        asked = [ask_from_bytes(payload) for leaf, payload in new if leaf == "ask"]
        if self.is_receipting and any(ask.journal.n != self.receipted for ask in asked):
            self.came.append(events.MessageArrived("receipt", self.receipt(self.receipted)))

    def move(self, ms: int, step_ms: int = 1_000) -> None:
        """Move the boot-time clock, in steps."""
        for _ in range(ms // step_ms):
            self.clock.boot_ms += step_ms
            self.settle()

    # The console's side

    @property
    def state(self) -> str:
        return self.runtime.door.state.value

    @property
    def asks(self) -> list[Ask]:
        return [ask_from_bytes(payload) for leaf, payload in self.broker.published if leaf == "ask"]

    @property
    def sent_records(self) -> list[Record]:
        ring = KeyRing([self.own.public])
        sent = [payload for leaf, payload in self.broker.published if leaf == "record"]
        return [record_from_payload(ring.verify(decode(payload, expected="record"))) for payload in sent]

    @property
    def refusals(self) -> list[str]:
        records = (record_from_payload(payload).fact for payload in self.journal.payloads)
        return [str(fact.data["code"]) for fact in records if fact.verb == "order.refused"]

    def body(self, number: int = 1, **changes: Any) -> OpenDoor:
        """Make a body that opens session ``number``."""
        relays = tuple(
            RelayRoute(_id("r", n), "managed", f"relay{n}", 22, "tunnel", ("ssh-ed25519 AAAA",), "certificate")  # type: ignore[arg-type]  # any id will do
            for n in (1, 2)
        )
        now = self.clock.boot_ms + self.console_offset_ms
        values: dict[str, Any] = {
            "session": SessionId(_id("s", number)),
            "ends_at": now + 60 * MINUTE_MS,
            "duration_s": 3_600,
            "relays": relays,
            "forwards": (Forward("ssh", "ssh", "*", 22_001),),
            "login": Login("remote-admin", ("ssh-ed25519 AAAA",)),
            "banner": "a" * 16,
            "asked": Asked("aiko@example.com", now, "why"),
        }
        return OpenDoor(**{**values, **changes})

    def order(self, body: Body, *, revision: int | None = None, nonce: str | None = None) -> bytes:
        """Sign an order for the newest ask."""
        if revision is None:
            self.revision += 1
        self.orders += 1
        order = Order(
            id=OrderId(_id("o", self.orders)),
            project=self.identity.project,
            device=self.identity.device,
            nonce=nonce or self.asks[-1].nonce,
            runner_nonce=self.asks[-1].runner_nonce,
            issued_at=self.clock.boot_ms + self.console_offset_ms,
            part=_PARTS.get(type(body), "door"),
            revision=Revision(0, revision or self.revision),
            body_text=text_from_body(body),
            body=body,
        )
        return self.grant.seal("order", payload_from_order(order))

    def command(self, number: int = 1, verb: str = "message", **changes: Any) -> RunCommand:
        """Make command ``number``, good for an hour."""
        now = self.clock.boot_ms + self.console_offset_ms
        asked = Asked("aiko@example.com", now, "why")
        return RunCommand(CommandId(_id("c", number)), verb, {}, now + 60 * MINUTE_MS, asked)._replace(**changes)

    def facts(self, verb: str) -> list[Mapping[str, Any]]:
        """Give what the device's records of ``verb`` say."""
        written = (record_from_payload(payload).fact for payload in self.journal.payloads if payload)
        return [fact.data for fact in written if fact.verb == verb]

    def deliver(self, raw: bytes, leaf: str = "order") -> None:
        """Bring a message to the device, if it is connected, and let everything happen."""
        if self.broker.generation is not None:
            self.came.append(events.MessageArrived(leaf, raw))
        self.settle()

    def receipt(self, upto: int, digest: str | None = None) -> bytes:
        """Sign a receipt for the device's records; without another digest it is what the console goes on saying."""
        mine = self.stored.get(upto)
        if upto and mine is None:
            mine = record_from_payload(self.journal.payloads[upto - 1]).head.digest
        if digest is None:
            self.receipted, self.stored[upto] = upto, mine
        receipt = Receipt(self.identity.project, self.identity.author, upto, digest or mine, 1, {})  # type: ignore[arg-type]  # tests may name a wrong digest
        return self.record.seal("receipt", payload_from_receipt(receipt))
