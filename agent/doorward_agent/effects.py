"""Effects: what shall be done, as data. Machines append them; ``runtime`` alone performs them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol.ids import CommandId, SessionId
from doorward_protocol.orders import Forward, RelayRoute
from doorward_protocol.rehearsal import Rehearsal
from doorward_protocol.targets import ForwardTest

DOOR_RETRY: Final = "door-retry"
DOOR_END: Final = "door-end"
LINK_RETRY: Final = "link-retry"
ASK: Final = "ask"
NONCE_ASK: Final = "nonce-ask"
RECEIPT: Final = "receipt"
COMMAND: Final = "command"
SETTINGS: Final = "settings"
WISH: Final = "wish"
DOOR_LOOK: Final = "door-look"


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Append a record to the journal; stands before the act that it announces."""

    verb: str
    session: SessionId | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """Hand the order to the runner, which judges it again."""

    session: SessionId
    envelope: bytes
    port: int


@dataclass(frozen=True, slots=True)
class CloseDoor:
    session: SessionId


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """Dial one relay; the forwards are asked for once ``ForwardTunnel`` names the door."""

    attempt: int
    session: SessionId
    route: RelayRoute
    forwards: tuple[Forward, ...]


@dataclass(frozen=True, slots=True)
class ForwardTunnel:
    """The door answers on this loopback port: ask the relay for the forwards to it."""

    attempt: int
    port: int


@dataclass(frozen=True, slots=True)
class EndTunnel:
    attempt: int


@dataclass(frozen=True, slots=True)
class MarkEnded:
    """Write down durably that this session has ended and never opens again."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class SendAsk:
    """Ask the console now, although nothing that is reported has changed."""


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Let ``TimerDue(name)`` come at ``at_ms``; replaces a timer of that name."""

    name: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class StopTimer:
    name: str


@dataclass(frozen=True, slots=True)
class ConnectBroker:
    generation: int


@dataclass(frozen=True, slots=True)
class DisconnectBroker:
    pass


@dataclass(frozen=True, slots=True)
class GreetConsole:
    """The link is up: say that the device is here, ask, and send what was not receipted."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Hand the command's order to the runner, which judges it again and runs the hook at most once."""

    command: CommandId
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Try the way to the relays, or to a named target, beside whatever is open, and tell each step."""

    command: CommandId
    rehearsal: Rehearsal | ForwardTest


@dataclass(frozen=True, slots=True)
class LookAtCommand:
    """Ask the runner how its last command went."""


@dataclass(frozen=True, slots=True)
class NoteCommandTold:
    """Write down that the console need not be told again how the last command went."""


@dataclass(frozen=True, slots=True)
class HandSettings:
    """Hand an order about settings to the runner; ``what`` is its part."""

    what: str
    envelope: bytes


@dataclass(frozen=True, slots=True)
class LookAtSettings:
    """Ask the runner how its last settings stand."""


Effect = (
    WriteRecord
    | OpenDoor
    | CloseDoor
    | OpenTunnel
    | ForwardTunnel
    | EndTunnel
    | MarkEnded
    | SendAsk
    | StartTimer
    | StopTimer
    | ConnectBroker
    | DisconnectBroker
    | GreetConsole
    | RunCommand
    | Rehearse
    | LookAtCommand
    | NoteCommandTold
    | HandSettings
    | LookAtSettings
)
