"""Events: what has happened, as data. Edges make them; ``runtime`` alone reads them from its queue.

``at_ms`` and every other ``_ms`` is a reading of the boot-time clock in milliseconds unless it says otherwise.
"""

from dataclasses import dataclass
from typing import Final

from doorward_protocol.commands import Outcome
from doorward_protocol.ids import CommandId, SessionId
from doorward_protocol.orders import Forward, OpenDoor
from doorward_protocol.rehearsal import Rehearsed
from doorward_protocol.targets import Tried


@dataclass(frozen=True, slots=True)
class BrokerConnected:
    generation: int


@dataclass(frozen=True, slots=True)
class BrokerLost:
    """The connection, or the attempt at one, is over; ``why`` is for the log."""

    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """Something came on one of the device's own topics; ``leaf`` is ``order`` or ``receipt``."""

    leaf: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RecordDelivered:
    """The broker has acknowledged the record with this number."""

    generation: int
    n: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """An accepted order wants this door open.

    Attributes:
        envelope: the order exactly as it came; the runner judges it again.
        deadline_ms: when the session ends by the boot-time clock.
        port: a free loopback port for the door, if it needs one.
        is_repeat: the revision was held already.
    """

    order: OpenDoor
    envelope: bytes
    deadline_ms: int
    port: int
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class OrderedShut:
    """An accepted order wants the door shut; None for whatever is open."""

    session: SessionId | None


@dataclass(frozen=True, slots=True)
class DoorFacts:
    """What the runner says of a door, as a record says it.

    Attributes:
        door: ``sshd`` or ``embedded``; None where a runner of the version before does not say.
        shares_user: whoever logs in is the agent's own user, and could forge what the agent says.
    """

    door: str | None = None
    shares_user: bool = False


UNSAID: Final = DoorFacts()


@dataclass(frozen=True, slots=True)
class RunnerReported:
    """The runner's answer to ``status``; ``code`` is set when it did not answer.

    Attributes:
        verbs: the commands for which this device has a hook.
    """

    session: SessionId | None
    port: int | None
    code: str | None = None
    facts: DoorFacts = UNSAID
    verbs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DoorFound:
    """The runner holds a door open that this agent did not know of: it was restarted meanwhile."""

    session: SessionId
    port: int
    deadline_ms: int | None
    facts: DoorFacts = UNSAID


@dataclass(frozen=True, slots=True)
class DoorGone:
    session: SessionId


@dataclass(frozen=True, slots=True)
class DoorOpened:
    session: SessionId
    port: int
    closer: str
    facts: DoorFacts = UNSAID


@dataclass(frozen=True, slots=True)
class DoorFailed:
    """The runner did not open the door; ``code`` says why."""

    session: SessionId
    code: str


@dataclass(frozen=True, slots=True)
class DoorClosed:
    session: SessionId


@dataclass(frozen=True, slots=True)
class DoorNotClosed:
    session: SessionId
    code: str


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    attempt: int


@dataclass(frozen=True, slots=True)
class TunnelFailed:
    """It did not come up, or it was up and broke.

    Attributes:
        relay_code: the relay's own reason, when it gave one.
    """

    attempt: int
    code: str
    relay_code: str | None = None


@dataclass(frozen=True, slots=True)
class ForwardTold:
    """A named forward was opened behind a tunnel that is up, or was not.

    Attributes:
        address: what its target's name led to; empty where it led nowhere.
        code: why it was not opened; None where it was.
        relay_code: the relay's own reason, when it gave one.
    """

    attempt: int
    forward: Forward
    address: str = ""
    code: str | None = None
    relay_code: str | None = None


@dataclass(frozen=True, slots=True)
class TunnelEnded:
    """The tunnel that should end has ended, with its child; also said when there was none."""

    attempt: int


@dataclass(frozen=True, slots=True)
class TimerDue:
    name: str


@dataclass(frozen=True, slots=True)
class CommandTold:
    """The runner's word on its last command.

    Attributes:
        command: the one that it is about; empty where it has had none, or where ``code`` says why there is no word.
        outcome: None while its hook is at work.
        code: why the runner did not take it, or says nothing.
    """

    command: str
    outcome: Outcome | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class RehearsalTold:
    """A rehearsal, or the test of a forward, has come a step further, or to its end.

    Attributes:
        outcome: how it went as a command; None until its end.
    """

    command: CommandId
    rehearsed: Rehearsed | Tried
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class RehearsalWished:
    """Somebody at the device would like a rehearsal (SIGUSR1)."""


@dataclass(frozen=True, slots=True)
class SettingsTold:
    """The runner's word on its last settings.

    Attributes:
        asked: the part whose order was handed on, empty where the runner was only asked.
        refusal: why it did not take that order, or says nothing; the rest is empty then.
        code: why they were put back, or could not be.
    """

    asked: str
    refusal: str | None = None
    state: str = "none"
    epoch: int = 0
    revision: int = 0
    digest: str | None = None
    code: str | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class StopRequested:
    pass


DoorEvent = (
    Ordered
    | OrderedShut
    | DoorFound
    | DoorGone
    | DoorOpened
    | DoorFailed
    | DoorClosed
    | DoorNotClosed
    | TunnelOpened
    | TunnelFailed
    | TunnelEnded
    | ForwardTold
    | TimerDue
)
LinkEvent = BrokerConnected | BrokerLost | TimerDue | StopRequested
Event = (
    DoorEvent
    | BrokerConnected
    | BrokerLost
    | MessageArrived
    | RecordDelivered
    | RunnerReported
    | CommandTold
    | SettingsTold
    | RehearsalTold
    | RehearsalWished
    | StopRequested
)
