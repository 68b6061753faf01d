"""What a door is, said from a session and the last intent: never what was asked for, always what is known.

A function of rows that were read; it looks nothing up and knows no clock. Pages and API both show its answer, so that
a person and a program are told the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Literal

from doorward_protocol.reasons import Reason, reason_of

from doorward_console.fleet.models import Relay
from doorward_console.maintenance import facts
from doorward_console.maintenance.models import Intent, Session

Word = Literal["shut", "opening", "open", "closing", "failed"]

WORDS: Final[tuple[Word, ...]] = ("shut", "opening", "open", "closing", "failed")

ASKED: Final = "asked"
STEPS: Final[Mapping[str, str]] = {
    ASKED: "Turning on was asked for",
    facts.RELAY_GRANTED: "The relay admits the device",
    facts.ORDERED: "The signed order was sent to the device",
    facts.DEVICE_ACCEPTED: "The device accepted the order",
    facts.DOOR_OPENED: "The device opened its door",
    facts.TUNNEL_UP: "The device's tunnel reached the relay",
    facts.ANSWERED: "The door answered through the relay",
}
"""The steps of an opening, as sentences; a step that is not here is shown by its own name."""

MISSED: Final[Mapping[str, str]] = {
    ASKED: "Turning on was refused",
    facts.RELAY_GRANTED: "The relay does not admit the device",
    facts.ORDERED: "The order could not be sent to the device",
    facts.DEVICE_ACCEPTED: "The device refused the order",
    facts.DOOR_OPENED: "The device could not open its door",
    facts.TUNNEL_UP: "The device's tunnel did not reach the relay",
    facts.ANSWERED: "The door does not answer through the relay",
}
"""The same steps when they did not succeed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened on the way; ``reason`` is set when it went wrong."""

    name: str
    sentence: str
    at: datetime
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Door:
    """A door's truth.

    Attributes:
        word: shut, opening, open, closing or failed.
        session: the session that the word is about; None when there is none to speak of.
        reason: why it failed, or what it waits for while it opens.
        waiting: an intent that nobody has decided about yet.
        notice: why the last thing asked of an open door was refused.
    """

    word: Word
    session: Session | None = None
    reason: Reason | None = None
    steps: tuple[Step, ...] = ()
    waiting: Intent | None = None
    notice: Reason | None = None

    @property
    def is_live(self) -> bool:
        """Whether there is something to shut."""
        return self.word in {"opening", "open", "closing"}

    @property
    def is_lost(self) -> bool:
        """Whether it was open and does not answer any more."""
        return self.session is not None and self.word == "opening" and self.session.lost_at is not None


def door_of(session: Session | None, intent: Intent | None) -> Door:
    """Say what a device's door is.

    Args:
        session: the device's newest session, or None.
        intent: the newest intent about its door (ON, OFF or EXTEND), or None.
    """
    waiting = intent if intent is not None and intent.state == Intent.State.ASKED else None
    if session is not None and session.state in Session.LIVE:
        return _live(session, intent, waiting)
    if waiting is not None and waiting.kind == Intent.Kind.ON:
        return Door("opening", None, None, (_asked(waiting),), waiting)
    if intent is not None and _is_a_refused_on(intent):
        return Door("failed", None, reason_of(intent.code), (_asked(intent),))
    if session is not None and session.state == Session.State.FAILED and not _is_put_aside(session, intent):
        return Door("failed", session, _reason(session, session.code), steps_of(session))
    return Door("shut", session)


def _is_a_refused_on(intent: Intent) -> bool:
    """Tell whether turning on was refused, other than because somebody turned it off again."""
    is_refused = intent.kind == Intent.Kind.ON and intent.state == Intent.State.REFUSED
    return is_refused and intent.code != "session.turned-off"


def _live(session: Session, intent: Intent | None, waiting: Intent | None) -> Door:
    refused = intent if intent is not None and intent.state == Intent.State.REFUSED else None
    notice = reason_of(refused.code) if refused is not None and refused.at >= session.requested_at else None
    reason = _reason(session, session.code) if session.code else None
    if session.state == Session.State.OPEN and session.lost_at is None:
        word: Word = "open"
    elif session.state == Session.State.CLOSING:
        word = "closing"
    else:
        word = "opening"
        if reason is None and session.lost_at is not None:
            reason = reason_of("session.lost")
    return Door(word, session, reason, steps_of(session), waiting, notice)


def _is_put_aside(session: Session, intent: Intent | None) -> bool:
    """Tell whether somebody turned maintenance off after the session had failed."""
    return (
        intent is not None
        and intent.kind == Intent.Kind.OFF
        and intent.session_id != session.pk
        and intent.at > session.requested_at
    )


def steps_of(session: Session) -> tuple[Step, ...]:
    """Read a session's steps in the order in which they happened."""
    asked = Step(ASKED, STEPS[ASKED], session.requested_at, None)
    return (asked, *(_step(session, one) for one in session.steps if one.get("step") != ASKED))


def _reason(session: Session, code: str) -> Reason:
    return reason_of(code, at_plain_relay=session.relay.kind == Relay.Kind.PLAIN)


def _step(session: Session, source: Mapping[str, Any]) -> Step:
    name = str(source["step"])
    code = source.get("code")
    sentence = (MISSED if code else STEPS).get(name, name.replace("-", " ").capitalize())
    at = datetime.fromtimestamp(source["at"] / 1000, timezone.utc)
    return Step(name, sentence, at, _reason(session, code) if code else None)


def _asked(intent: Intent) -> Step:
    reason = reason_of(intent.code) if intent.state == Intent.State.REFUSED else None
    return Step(ASKED, (MISSED if reason else STEPS)[ASKED], intent.at, reason)
