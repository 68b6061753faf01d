"""What the worker's threads tell its runtime: facts only, decided upon by ``runtime`` alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from doorward_console.edges.relay_client import Page, Reconciled
from doorward_console.maintenance.grants import ToEnd, ToPut, ToReconcile


@dataclass(frozen=True, slots=True)
class Rung:
    """Somebody wrote something into the database that concerns the worker."""


@dataclass(frozen=True, slots=True)
class BrokerJoined:
    """The connection to the broker stands and the topics are subscribed to."""


@dataclass(frozen=True, slots=True)
class BrokerLost:
    """The connection to the broker is gone; the client dials again by itself."""


@dataclass(frozen=True, slots=True)
class MessageCame:
    """A device's message; ``leaf`` is ``ask``, ``record`` or ``presence``."""

    device: str
    leaf: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class GrantPut:
    """A relay's answer to a put; ``code`` is None when it accepted."""

    order: ToPut
    code: str | None


@dataclass(frozen=True, slots=True)
class GrantEnded:
    """A relay's answer to an end; ``code`` is None when nothing listens any more."""

    order: ToEnd
    code: str | None


@dataclass(frozen=True, slots=True)
class RelayReconciled:
    """A relay's answer to a reconcile."""

    order: ToReconcile
    answer: Reconciled


@dataclass(frozen=True, slots=True)
class RelayVersion:
    """What a relay answered when it was asked for its version."""

    relay: str
    version: str


@dataclass(frozen=True, slots=True)
class RecordsCame:
    """One page of a relay's long poll."""

    relay: str
    page: Page


@dataclass(frozen=True, slots=True)
class RelayFailed:
    """A relay could not be talked to, or refused what every paired relay accepts."""

    relay: str
    code: str


@dataclass(frozen=True, slots=True)
class DoorProbed:
    """What was found where a door at a plain relay has to answer; ``code`` is None when it did."""

    session: str
    code: str | None


Event = (
    Rung
    | BrokerJoined
    | BrokerLost
    | MessageCame
    | GrantPut
    | GrantEnded
    | RelayReconciled
    | RelayVersion
    | RecordsCame
    | RelayFailed
    | DoorProbed
)


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """A receipt for a relay, signed."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class AskVersion:
    """Ask a relay for its version."""


Call = ToPut | ToReconcile | SendReceipt | AskVersion | ToEnd
Events = Sequence[Event]
