"""Commands as people and programs are told of them: looks into the database, and words; nothing is decided here."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models.functions import Right
from doorward_protocol.reasons import Reason, reason_of
from doorward_protocol.targets import TEST

from doorward_console.fleet.models import Device
from doorward_console.maintenance.commands.deciding import CONFIRMED, can
from doorward_console.maintenance.models import Batch, Command
from doorward_console.people.rights import COMMANDS, may

State = Command.State
PAGE: Final = 50
LAST_WORDS: Final = 300
"""Characters of what a device said, beside each of many: its end, where programs say what went wrong."""

NAMES: Final[Mapping[str, str]] = {
    "rehearse": "Rehearse",
    "test-forward": "Test a forward",
    "message": "Show a message",
    "system-info": "Read system information",
    "health": "Check its health",
    "settings-read": "Read its settings",
    "reboot": "Restart",
    "suspend": "Suspend",
    "shutdown": "Shut down",
    "factory-reset": "Reset to factory state",
}
ABOUT: Final[Mapping[str, str]] = {
    "rehearse": "The device tries the way to its relay, up to a port that the relay has to refuse. Nothing opens, and an open door stays as it is.",
    "test-forward": "The device tries the way to one of its named targets. Nothing opens, and an open door stays as it is.",
    "message": "The people at the device see it, on its screen or terminals.",
    "system-info": "The device says anew what it is: model, serial number, versions, addresses.",
    "health": "The device looks at itself and says what is not well.",
    "settings-read": "The device says anew how it is set, and what may be set. Nothing is changed.",
    "reboot": "An open door shuts, and whoever works there loses what is not saved. The device comes back by itself.",
    "suspend": "The device sleeps until somebody or something at the place wakes it: it cannot be reached until then.",
    "shutdown": "The device goes off. Somebody at the place has to switch it on again.",
    "factory-reset": "The device removes what its maker has listed for this, and restarts. doorward's own keys stay with the hook that comes along, so it is back by itself.",
}  # fmt: skip
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    State.ASKED: ("Asked", "opening"),
    State.QUEUED: ("Waiting", "opening"),
    State.ORDERED: ("Told", "opening"),
    State.BEGUN: ("At work", "opening"),
    State.DONE: ("Done", "done"),
    State.FAILED: ("Failed", "failed"),
    State.CANCELLED: ("Cancelled", "shut"),
    State.EXPIRED: ("Expired", "failed"),
    State.REFUSED: ("Refused", "failed"),
}
"""Each state's word and its tone, which has a shape of its own."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A command that a person may ask of a device."""

    verb: str
    name: str
    about: str
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A command with the words for it."""

    command: Command
    name: str
    word: str
    tone: str
    reason: Reason | None
    is_waiting: bool

    @property
    def told(self) -> list[tuple[str, str]]:
        """Give what the device answered, flat, for a table."""
        return flat(self.command.result or {})


@dataclass(frozen=True, slots=True)
class Results:
    """A batch's commands by device name, and how many there are in each state."""

    commands: tuple[Command, ...]
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return len(self.commands)


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a batch are in one state, with the state's word."""

    word: str
    tone: str
    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How a batch fares, for its page: what failed comes first, then what is under way, then what went well."""

    name: str
    rows: tuple[Shown, ...]
    counts: tuple[Count, ...]
    ended: int
    waiting: int

    @property
    def total(self) -> int:
        return len(self.rows)


def offers_for(role: str | None, verbs: list[str] | None = None) -> tuple[Offer, ...]:
    """Give what a role may ask of a device that has hooks for ``verbs``; of any device where that is None.

    A forward's test is not among them: it is asked for beside the forward.
    """
    usual = ((verb, right) for verb, right in COMMANDS.items() if verb != TEST)
    mine = (verb for verb, right in usual if may(role, right) and (verbs is None or can(verbs, verb)))
    return tuple(Offer(verb, NAMES[verb], ABOUT[verb], verb in CONFIRMED) for verb in mine)


def shown(command: Command) -> Shown:
    """Say a command."""
    word, tone = _WORDS[command.state]
    is_waiting = command.state in Command.WAITING
    return Shown(command, name_of(command.verb), word, tone, reason_for(command), is_waiting)


def reason_for(command: Command) -> Reason | None:
    return reason_of(command.code) if command.code else None


def commands_of(device: Device, page: int = 1, size: int = PAGE) -> list[Command]:
    """List a device's commands, newest first."""
    start = (page - 1) * size
    return list(Command.objects.filter(device=device).order_by("-at", "-pk")[start : start + size])


def results_of(batch: Batch) -> Results:
    """Give how a batch fares: of what its devices answered only the last words that each said to people (``last_words``)."""
    commands = Command.objects.filter(batch=batch).select_related("device").defer("result", "said", "arguments")
    commands = commands.annotate(last_words=Right("said", LAST_WORDS))
    found = tuple(commands.order_by("device__name"))
    return Results(found, dict(Counter(one.state for one in found)))


def progress_of(batch: Batch) -> Progress:
    """Say how a batch fares."""
    found = results_of(batch)
    rank = {state: place for place, state in enumerate(_SHOWN_FIRST)}
    rows = sorted((shown(one) for one in found.commands), key=lambda one: rank[one.command.state])
    counts = tuple(Count(*_WORDS[state], found.counts[state]) for state in _SHOWN_FIRST if state in found.counts)
    ended = sum(one.command.state not in Command.LIVE for one in rows)
    return Progress(name_of(batch.verb), tuple(rows), counts, ended, sum(one.is_waiting for one in rows))


_SHOWN_FIRST: Final = (
    State.FAILED, State.REFUSED, State.EXPIRED, State.BEGUN, State.ORDERED, State.QUEUED, State.ASKED, State.CANCELLED,
    State.DONE,
)  # fmt: skip


def name_of(verb: str) -> str:
    """Name a command as people read it; one that this version does not know by its own word."""
    return NAMES.get(verb, verb)


def last_known(device: Device, verb: str) -> Command | None:
    """Give the newest answer of a device to ``verb``."""
    done = Command.objects.filter(device=device, verb=verb, state=State.DONE, result__isnull=False)
    found: Command | None = done.order_by("-ended_at").first()
    return found


def flat(answer: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Write a document as lines of name and value, at most 60: names as the device chose them, made readable."""
    lines: list[tuple[str, str]] = []
    for key, value in answer.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(value, dict):
            lines += flat(value, name)
        else:
            lines.append((name, _text(value)))
    return lines[:60]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, dict):
        return " ".join(_text(one) for one in value.values())
    if value is None:
        return "unknown"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
