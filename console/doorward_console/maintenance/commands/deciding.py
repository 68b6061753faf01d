"""What the signer decides about a command, as a function of what it has read: the first no counts, and is a reason code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from doorward_protocol.commands import MAX_ARGUMENTS_BYTES, VERBS, size_bytes

from doorward_console.maintenance.decisions import Ceilings
from doorward_console.people.rights import COMMANDS, may

CONFIRMED: Final = frozenset({"shutdown", "factory-reset"})
"""What nobody can take back from afar: asked for only together with the name of what it is done to."""


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What is the case when a command is decided.

    Attributes:
        role: the asker's role in the device's project as it is now; None when they are no member any more.
        name: what has to be typed where it has to be confirmed: the device's name, or the project's for several devices.
        has_been_heard: the device has said at least once what it can do.
        verbs: what it has hooks for; None from an agent that knows no commands.
        waiting: commands that already wait for this device.
    """

    role: str | None
    verb: str
    arguments: Mapping[str, Any]
    expires_at: datetime
    confirm: str
    name: str
    is_blocked: bool
    has_joined: bool
    has_been_heard: bool
    verbs: tuple[str, ...] | None
    waiting: int


def refusal_of_command(facts: CommandFacts, ceilings: Ceilings, now: datetime) -> str | None:
    """Say why a device is not told this, or None."""
    if (fault := fault_of(facts.verb, facts.arguments, facts.confirm, facts.name)) is not None:
        return fault
    answers = (
        ("signer.not-entitled", not may(facts.role, COMMANDS[facts.verb])),
        ("signer.blocked", facts.is_blocked),
        ("signer.not-joined", not facts.has_joined),
        ("hook.missing", facts.has_been_heard and not can(facts.verbs, facts.verb)),
        ("command.expired", facts.expires_at <= now),
        ("command.too-many", facts.waiting >= ceilings.most_waiting_commands),
    )
    return next((code for code, is_so in answers if is_so), None)


def fault_of(verb: str, arguments: Mapping[str, Any], confirm: str, name: str) -> str | None:
    """Say what is wrong with a wish in itself, whoever has it."""
    if verb not in VERBS or verb not in COMMANDS:
        return "command.unknown"
    if size_bytes(arguments) > MAX_ARGUMENTS_BYTES:
        return "command.too-large"
    return "command.not-confirmed" if verb in CONFIRMED and confirm != name else None


def can(verbs: tuple[str, ...] | list[str] | None, verb: str) -> bool:
    """Tell whether a device that said ``verbs`` can do ``verb``."""
    return verb in (verbs or ())


def expiry_of(now: datetime, ceilings: Ceilings) -> datetime:
    """Give the latest end that is signed now."""
    return now + timedelta(seconds=ceilings.longest_command_s)
