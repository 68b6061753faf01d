"""What the signer decides about a command, as a function of what it has read: the first no counts, and is a reason code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from doorward_protocol.commands import AGENT_VERBS, MAX_ARGUMENTS_BYTES, READ_SETTINGS, VERBS, size_bytes
from doorward_protocol.rehearsal import VERB as REHEARSE

from doorward_console.maintenance.decisions import Ceilings
from doorward_console.people.rights import COMMANDS, may

CONFIRMED: Final = frozenset({"shutdown", "factory-reset"})
"""What nobody can take back from afar: asked for only together with the name of what it is done to."""


BY_NOBODY: Final = frozenset({REHEARSE, READ_SETTINGS})
"""What is also asked for by devices and by the clock: it opens and changes nothing, so no person has to vouch for it."""


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What is the case when a command is decided.

    Attributes:
        role: the asker's role in the device's project as it is now; None when they are no member any more.
        is_by_nobody: no person asked.
        name: what has to be typed where it has to be confirmed: the device's name, or the project's for several devices.
        has_said_verbs: the device has said at least once what it can do; until then it is told nothing else, and refused nothing.
        verbs: what it can do; None from an agent that knows no commands.
        has_way: it has a relay that it can be admitted to.
        waiting: commands that already wait for this device.
    """

    role: str | None
    is_by_nobody: bool
    verb: str
    arguments: Mapping[str, Any]
    expires_at: datetime
    confirm: str
    name: str
    is_blocked: bool
    has_joined: bool
    has_said_verbs: bool
    verbs: tuple[str, ...] | None
    has_way: bool
    waiting: int


def refusal_of_command(facts: CommandFacts, ceilings: Ceilings, now: datetime) -> str | None:
    """Say why a device is not told this, or None."""
    if (fault := fault_of(facts.verb, facts.arguments, facts.confirm, facts.name)) is not None:
        return fault
    answers = (
        ("signer.not-entitled", not _is_entitled(facts)),
        ("signer.blocked", facts.is_blocked),
        ("signer.not-joined", not facts.has_joined),
        (lacking(facts.verb), facts.has_said_verbs and not can(facts.verbs, facts.verb)),
        ("signer.no-relay", facts.verb == REHEARSE and not facts.has_way),
        ("command.expired", facts.expires_at <= now),
        ("command.too-many", facts.waiting >= ceilings.most_waiting_commands),
    )
    return next((code for code, is_so in answers if is_so), None)


def _is_entitled(facts: CommandFacts) -> bool:
    is_its_own = facts.is_by_nobody and facts.verb in BY_NOBODY
    return is_its_own or may(facts.role, COMMANDS[facts.verb])


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


def lacking(verb: str) -> str:
    """Say why a device cannot do ``verb``: it has no hook, or its agent is older."""
    return "command.agent-too-old" if verb in AGENT_VERBS else "hook.missing"


def expiry_of(now: datetime, ceilings: Ceilings) -> datetime:
    """Give the latest end that is signed now."""
    return now + timedelta(seconds=ceilings.longest_command_s)
