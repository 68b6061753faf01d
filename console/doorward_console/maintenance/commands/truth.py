"""What is true of a command once something was heard of it: one table of states and facts.

A device's signed word overrides what the console had counted: a command that expired or was cancelled here while it was
under way there has begun, or is done, and says so.
"""

from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol.commands import Outcome, outcome_from
from doorward_protocol.fields import Malformed
from doorward_protocol.records import Record

from doorward_console.maintenance.facts import MENDS_ITSELF
from doorward_console.maintenance.models import Command

State = Command.State

_COUNTED: Final = frozenset({State.EXPIRED, State.CANCELLED})
"""Ends that the console gave by itself: a device's word is worth more."""
_NOT_TOLD_YET: Final = frozenset({State.ASKED, State.QUEUED, State.REFUSED})
_GAVE_UP: Final = "command.interrupted"


@dataclass(frozen=True, slots=True)
class Begun:
    """The device's signed word: it has begun."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The device's signed word: this is how it went."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Declined:
    """The device refused the order, and the same order would be refused again."""

    code: str


Fact = Begun | Ended | Declined


def fact_from_record(record: Record) -> tuple[str, Fact] | None:
    """Read what a device's record says of a command that it names; None where it names none."""
    name: Any = record.fact.data.get("command")
    if not isinstance(name, str):
        return None
    match record.fact.verb:
        case "command.begun":
            return name, Begun()
        case "command.done":
            return name, Ended(_outcome(record))
        case _:
            return None


def _outcome(record: Record) -> Outcome:
    try:
        return outcome_from(record.fact.data)
    except Malformed:  # it has ended all the same; what it says of it cannot be read
        return Outcome("hook.bad-answer")


def refused_order(record: Record) -> tuple[str, str] | None:
    """Name the command's order that a record says was refused for good, and why; None of any other record."""
    data = record.fact.data
    order, code = data.get("order"), data.get("code")
    if record.fact.verb != "order.refused" or data.get("part") != "command":
        return None
    if not isinstance(order, str) or not isinstance(code, str) or code in MENDS_ITSELF:
        return None
    return order, code[:60]


def state_after(state: str, code: str, fact: Fact) -> str | None:
    """Say what a command in ``state`` (which ended with ``code``, if it has) becomes by a fact; None where it stays as it is."""
    if state in _NOT_TOLD_YET:
        return None  # no order of it was ever signed: whoever says so speaks of something else
    is_open = state in Command.TOLD or state in _COUNTED or (state == State.FAILED and code == _GAVE_UP)
    match fact:
        case Begun():
            return State.BEGUN if state == State.ORDERED or state in _COUNTED else None
        case Ended(outcome):
            return (State.FAILED if outcome.code else State.DONE) if is_open else None
        case Declined():
            return State.FAILED if state == State.ORDERED else None
