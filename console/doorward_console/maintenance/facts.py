"""What can come true for a session, as data, and how signed records of devices and relays say it.

Knows the verbs of others' records that matter to a session; what follows from a fact is ``truth``'s business. Pure.
"""

from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol.records import Record

ORDERED: Final = "ordered"
RELAY_GRANTED: Final = "relay-granted"
DEVICE_ACCEPTED: Final = "device-accepted"
DOOR_OPENED: Final = "door-opened"
TUNNEL_UP: Final = "tunnel-up"
ANSWERED: Final = "answered"
STEPS: Final = (RELAY_GRANTED, ORDERED, DEVICE_ACCEPTED, DOOR_OPENED, TUNNEL_UP, ANSWERED)
"""Steps of an opening, in the order in which they usually happen."""

MENDS_ITSELF: Final = frozenset({"order.stale-nonce"})
"""Refusals after which the device asks again and is told anew; all others of steps 5 to 8 are for good."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step of the opening happened, or (with a code) did not, and somebody goes on trying."""

    step: str
    at: int
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The door's own banner came back through the port that engineers use."""

    at: int


@dataclass(frozen=True, slots=True)
class Silent:
    """The door does not answer there any more.

    Attributes:
        happened_at: where a device says so: when, by the console's time as it knows it. Its records may come late, after
            the relay has already seen the door answer again.
    """

    at: int
    code: str
    happened_at: int | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The worker's own probe of a plain relay's port did not find this session's door there; ``code`` says what it found."""

    at: int
    code: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Device or relay said no, and trying again would bring the same."""

    step: str
    at: int
    code: str


@dataclass(frozen=True, slots=True)
class DeviceShut:
    """The device's signed word: this session's door is shut, and never opens again."""

    at: int
    code: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceObeyed:
    """The device's signed word: it was told to shut, and has written down that this session never opens again."""

    at: int


@dataclass(frozen=True, slots=True)
class RelayShut:
    """The relay's word: nothing listens for this session, and nothing will."""

    at: int


@dataclass(frozen=True, slots=True)
class RelayFailed:
    """The relay could not be told to end, or could not do it."""

    at: int
    code: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """It is now ``at``; the device's presence has been as it is since ``presence_at``."""

    at: int
    is_connected: bool
    presence_at: int


Fact = (
    Stepped
    | Answered
    | Silent
    | Unanswered
    | Refused
    | DeviceShut
    | DeviceObeyed
    | RelayShut
    | RelayFailed
    | TimePassed
)


_STEP_OF: Final = {
    "order.accepted": DEVICE_ACCEPTED,
    "door.opened": DOOR_OPENED,
    "grant.accepted": RELAY_GRANTED,
    "tunnel.up": TUNNEL_UP,
}
"""Verbs that say only that a step of the opening succeeded."""

_SILENT_BECAUSE: Final = {"door.lost": "tunnel.lost", "tunnel.down": "tunnel.lost", "door.silent": "probe.silent"}
"""Verbs that take green back, and the code where the record brings none."""


def fact_from_record(record: Record, at: int) -> Fact | None:
    """Read what a record says about its session, learned at ``at``; None where it says nothing about its state."""
    verb = record.fact.verb
    if verb == "order.accepted" and record.fact.data.get("state") == "shut":
        return DeviceObeyed(at)
    if verb in _STEP_OF:
        return Stepped(_STEP_OF[verb], at)
    if verb in _SILENT_BECAUSE:
        happened_at = record.moment.at if record.moment.boot else None  # a relay says things as they happen, in order
        return Silent(at, _code(record, _SILENT_BECAUSE[verb]), happened_at)
    return _told(record, at)


def _told(record: Record, at: int) -> Fact | None:
    match record.fact.verb:
        case "order.refused":
            return _refusal(record, at)
        case "door.failed":
            return _failure(record, at)
        case "door.closed":
            return DeviceShut(at, _code(record, _code(record, "", name="why")) or None)
        case "grant.ended":
            return RelayShut(at)
        case "door.answered":
            return Answered(at)
        case _:
            return None


def _refusal(record: Record, at: int) -> Fact:
    code = _code(record, "order.malformed")
    if code in MENDS_ITSELF:
        return Stepped(DEVICE_ACCEPTED, at, code)
    return Refused(DEVICE_ACCEPTED, at, code)


def _failure(record: Record, at: int) -> Fact:
    """Read why the device could not open; where the relay told it a reason, that one is the exact one."""
    code = _code(record, "door.not-started")
    return Stepped(_failed_step(code), at, _code(record, code, name="relay_code"))


def _failed_step(code: str) -> str:
    return DOOR_OPENED if code.startswith(("door.", "runner.")) else TUNNEL_UP


def _code(record: Record, otherwise: str, name: str = "code") -> str:
    value: Any = record.fact.data.get(name)
    return value[:60] if isinstance(value, str) else otherwise
