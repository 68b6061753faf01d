"""What is true of a session: its state as it follows from facts, and from nothing else.

Green is said only on the door's own answer, and taken back when a later probe fails. A session is closed when the way in is
shut: when the relay says that nothing listens. Where the relay cannot be reached the device's signed word has to do, and
where neither can be reached, the end that both keep by themselves. A relay that answers "something still listens"
is believed: then nothing closes the session but the relay's other word. Failed is said when the opening is given up; the
grant is ended then as in any other case (``carrying``), and ``relay_shut_at`` says when that was done.

A plain relay says nothing, so two words have to do in its stead: the device's, signed, that it has shut or will never
open this session again, and after it the worker's probe, which does not find the session's door any more. The probe alone
is not enough: a device that lost its network for a moment dials again. The device's word alone is not, either: it would
hide a door that still answers. Where the device was never told to open, the probe has to do, and where it cannot be
heard, the session's end and the probe after it. While the door answers, nothing closes the session.

Pure: facts and times arrive as values. Called by ``sessions``, which loads, applies and stores.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from doorward_console.maintenance import facts
from doorward_console.maintenance.facts import (
    ANSWERED,
    DOOR_OPENED,
    ORDERED,
    TUNNEL_UP,
    Answered,
    DeviceObeyed,
    DeviceShut,
    Fact,
    Refused,
    RelayFailed,
    RelayShut,
    Silent,
    Stepped,
    TimePassed,
    Unanswered,
)

GIVE_UP_MS: Final = 600_000
"""An opening that stays unanswered so long while the device is connected has failed: ten retries at the cap of 60 s."""
GRACE_MS: Final = 120_000
"""After the end of a session: the relay's reaper and the device's closer have acted by then, clock skew included."""
STILL_ANSWERS_MS: Final = 5_000
"""A probe that was on its way while the device shut may report this late; an answer after it is one too many."""
UP_MS: Final = 3_000
"""The device's word may be here before a probe that was under way when the tunnel came up."""
MOST_STEPS: Final = 40
"""A device that retries for hours adds a step each minute; the page shows the latest."""


class State(Enum):
    """As in docs/architecture.md, states of a session; the values are the database's."""

    REQUESTED = "requested"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


BEFORE_OPEN: Final = frozenset({State.REQUESTED, State.OPENING})
AT_REST: Final = frozenset({State.CLOSED, State.FAILED})


@dataclass(frozen=True, slots=True)
class Step:
    """One step, when it was learned, and why it did not succeed (None: it did)."""

    step: str
    at: int
    code: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A session as it stands. Times are ms; ``code`` is why it is not open, or empty.

    Attributes:
        is_plain: its relay is a plain one, which says nothing.
        obeyed_at: the device's signed word that it was told to shut and will not open again.
    """

    state: State
    requested_at: int
    ends_at: int
    code: str = ""
    steps: tuple[Step, ...] = ()
    opened_at: int | None = None
    lost_at: int | None = None
    closing_at: int | None = None
    closed_at: int | None = None
    device_shut_at: int | None = None
    relay_shut_at: int | None = None
    obeyed_at: int | None = None
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A record that the console owes its history."""

    verb: str
    data: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The session after a fact.

    Attributes:
        notes: what has to be written down.
        asks_shut: whether the device has to be told to shut although nobody turned it off.
    """

    standing: Standing
    notes: tuple[Note, ...] = ()
    asks_shut: bool = False


def after(standing: Standing, fact: Fact) -> Outcome:  # noqa: C901, PLR0911  # one line for each fact
    """Give the session as it is once ``fact`` is known."""
    match fact:
        case Stepped():
            return _after_step(standing, fact)
        case Answered():
            return _after_answer(standing, fact)
        case Silent():
            return _after_silence(standing, fact)
        case Unanswered():
            return _after_unanswered(standing, fact)
        case Refused():
            return _after_refusal(standing, fact)
        case DeviceShut():
            return _after_device_shut(standing, fact)
        case DeviceObeyed():
            return Outcome(standing if standing.obeyed_at is not None else replace(standing, obeyed_at=fact.at))
        case RelayShut():
            return _after_relay_shut(standing, fact)
        case RelayFailed():
            return _after_relay_failed(standing, fact)
        case TimePassed():
            return _after_time(standing, fact)


def _after_step(standing: Standing, fact: Stepped) -> Outcome:
    if standing.state is State.CLOSING and fact.step == ORDERED:
        return Outcome(_with_step(standing, Step(fact.step, fact.at, fact.code)))  # it was on its way: it may be obeyed
    if standing.state in AT_REST or standing.state is State.CLOSING:
        return Outcome(standing)
    stepped = _with_step(standing, Step(fact.step, fact.at, fact.code))
    if standing.state is State.OPEN:
        return Outcome(stepped)
    return Outcome(replace(stepped, state=State.OPENING, code=fact.code or ""))


def _after_answer(standing: Standing, fact: Answered) -> Outcome:
    answered = _with_step(standing, Step(ANSWERED, fact.at, None))
    if standing.state in BEFORE_OPEN:
        opened = replace(answered, state=State.OPEN, opened_at=fact.at, code="")
        return Outcome(opened, (Note("session.opened", (("after_ms", fact.at - standing.requested_at),)),))
    if standing.state is State.OPEN and standing.lost_at is not None:
        again = replace(answered, lost_at=None, code="")
        return Outcome(again, (Note("session.opened", (("again_after_ms", fact.at - standing.lost_at),)),))
    if standing.state is State.CLOSING and standing.is_plain and _should_be_shut(standing, fact.at):
        return Outcome(replace(standing, code="relay.not-closed"))
    return Outcome(standing)


def _should_be_shut(standing: Standing, at: int) -> bool:
    word = standing.device_shut_at
    return at >= standing.ends_at + GRACE_MS or (word is not None and at >= word + STILL_ANSWERS_MS)


def _after_silence(standing: Standing, fact: Silent) -> Outcome:
    if standing.state in BEFORE_OPEN:
        return Outcome(_with_step(standing, Step(ANSWERED, fact.at, fact.code)))
    if standing.state is not State.OPEN or standing.lost_at is not None or _is_old_news(standing, fact):
        return Outcome(standing)
    lost = replace(_with_step(standing, Step(ANSWERED, fact.at, fact.code)), lost_at=fact.at, code="session.lost")
    return Outcome(lost, (Note("session.lost", (("code", fact.code),)),))


def _is_old_news(standing: Standing, fact: Silent) -> bool:
    """Tell whether the door has answered since: a relay says so once, and would not say it again after a late word of a loss."""
    answers = [step.at for step in standing.steps if step.step == ANSWERED and step.code is None]
    return fact.happened_at is not None and fact.happened_at < max(answers, default=standing.opened_at or 0)


def _after_unanswered(standing: Standing, fact: Unanswered) -> Outcome:
    """Take what the worker's probe found at a plain relay: the only eyes that the console has there."""
    match standing.state:
        case State.REQUESTED | State.OPENING:
            code = _news_in(standing, fact)
            return Outcome(standing) if code is None else _after_step(standing, Stepped(ANSWERED, fact.at, code))
        case State.OPEN:
            return _after_silence(standing, Silent(fact.at, fact.code))
        case State.CLOSING:
            by = _closed_by(standing, fact.at)
            return Outcome(standing) if by is None else _closed(standing, fact.at, by)
        case _:
            return Outcome(standing)


def _news_in(standing: Standing, fact: Unanswered) -> str | None:
    """Say what an unanswered probe tells about an opening; nothing listens yet while the device is on its way.

    Once the device has said that its tunnel stands and its door is open, a port that takes no connection is not on the
    address that engineers use: GatewayPorts, or a firewall.
    """
    if fact.code != "probe.refused":
        return fact.code
    said = [step for step in standing.steps if step.step in {DOOR_OPENED, TUNNEL_UP}]
    is_up = bool(said) and said[-1].code is None and fact.at >= said[-1].at + UP_MS
    return "probe.not-public" if is_up else None


def _closed_by(standing: Standing, at: int) -> str | None:
    """Say on whose word a session at a plain relay is closed now that its door does not answer; None: on nobody's yet."""
    if standing.device_shut_at is not None or standing.obeyed_at is not None:
        return "device"
    if at >= standing.ends_at + GRACE_MS:
        return "time"
    was_told = any(step.step != ANSWERED for step in standing.steps)
    return None if was_told else "console"


def _after_refusal(standing: Standing, fact: Refused) -> Outcome:
    if standing.state not in BEFORE_OPEN:
        return _after_step(standing, Stepped(fact.step, fact.at, fact.code))
    return _failed(_with_step(standing, Step(fact.step, fact.at, fact.code)), fact.at, fact.code)


def _after_device_shut(standing: Standing, fact: DeviceShut) -> Outcome:
    shut = standing if standing.device_shut_at is not None else replace(standing, device_shut_at=fact.at)
    if shut.state in AT_REST:
        return Outcome(shut)
    if shut.state is State.CLOSING:
        return _closed(shut, fact.at, "device") if _relay_is_out_of_reach(shut.code) else Outcome(shut)
    if shut.state in BEFORE_OPEN and fact.code is not None and not fact.code.startswith("session."):
        return _failed(shut, fact.at, fact.code)
    code = "session.expired" if fact.at >= shut.ends_at else (fact.code or "session.turned-off")
    return Outcome(replace(shut, state=State.CLOSING, closing_at=fact.at, code=code), asks_shut=True)


def _after_relay_shut(standing: Standing, fact: RelayShut) -> Outcome:
    shut = standing if standing.relay_shut_at is not None else replace(standing, relay_shut_at=fact.at)
    if shut.state in AT_REST:
        return Outcome(shut)
    if shut.state is State.CLOSING:
        return _closed(shut, fact.at, "relay")
    code = "session.expired" if fact.at >= shut.ends_at else "relay.grant-ended"
    closed = _closed(replace(shut, closing_at=fact.at, code=code), fact.at, "relay")
    return replace(closed, asks_shut=True)


def _after_relay_failed(standing: Standing, fact: RelayFailed) -> Outcome:
    if standing.state is not State.CLOSING:
        return Outcome(standing)
    told = replace(standing, code=fact.code)
    if _relay_is_out_of_reach(fact.code) and told.device_shut_at is not None:
        return _closed(told, fact.at, "device")
    return Outcome(told)


def _after_time(standing: Standing, fact: TimePassed) -> Outcome:
    if standing.state in AT_REST:
        return Outcome(standing)
    if standing.state is State.CLOSING:
        is_over = fact.at >= standing.ends_at + GRACE_MS and standing.code != "relay.not-closed"
        is_over = is_over and not standing.is_plain  # there the probe closes it, which looks
        return _closed(standing, fact.at, "time") if is_over else Outcome(standing)
    if fact.at >= standing.ends_at:
        expired = replace(standing, state=State.CLOSING, closing_at=fact.at, code="session.expired")
        return Outcome(expired, asks_shut=True)
    if standing.state is State.OPEN:
        return Outcome(standing)
    return _after_waiting(standing, fact)


def _after_waiting(standing: Standing, fact: TimePassed) -> Outcome:
    """Say that the device is away, or give up on one that is there and does not answer."""
    if not fact.is_connected:
        return Outcome(standing if standing.code else replace(standing, code="session.no-answer"))
    here = replace(standing, code="") if standing.code == "session.no-answer" else standing
    if fact.at - max(standing.requested_at, fact.presence_at) < GIVE_UP_MS:
        return Outcome(here)
    return _failed(here, fact.at, here.code or "session.no-answer")


def _failed(standing: Standing, at: int, code: str) -> Outcome:
    failed = replace(standing, state=State.FAILED, code=code, closed_at=at)
    return Outcome(failed, (Note("session.failed", (("code", code),)),), asks_shut=True)


def _closed(standing: Standing, at: int, by: str) -> Outcome:
    """Say closed; ``by`` is whose word it rests on.

    ``relay``, ``device``, ``time`` when neither could be asked, ``console`` when the device was never told to open.
    """
    closed = replace(standing, state=State.CLOSED, closed_at=at)
    data = (("by", by), ("code", standing.code), ("device_shut", standing.device_shut_at is not None))
    return Outcome(closed, (Note("session.closed", data),))


def _relay_is_out_of_reach(code: str) -> bool:
    return code.startswith("relay.") and code not in {"relay.not-closed", "relay.grant-ended"}


def _with_step(standing: Standing, step: Step) -> Standing:
    """Append a step unless it repeats the last one of its name word for word."""
    last = next((one for one in reversed(standing.steps) if one.step == step.step), None)
    if last is not None and last.code == step.code and (step.code is not None or step.step != facts.ANSWERED):
        return standing
    return replace(standing, steps=(*standing.steps, step)[-MOST_STEPS:])
