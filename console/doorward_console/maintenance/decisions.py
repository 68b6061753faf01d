"""What the signer decides, as functions of what it has read: no database, no clock, no key.

The first no counts, and it is a reason code. Time arrives as ``now``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from doorward_protocol.revisions import Revision

from doorward_console.fleet.licences import Licence, is_older
from doorward_console.people.rights import Right, may

CLOCKS_DIFFER: Final = timedelta(seconds=10)
"""Web and signer may stand on two machines."""
LONGEST_WAIT: Final = timedelta(minutes=2)
"""A request that waited longer for the signer has been forgotten by whoever made it; doors do not open by themselves."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the signer never goes past, whoever asks.

    Attributes:
        longest_session_s: from the first request to the end, extensions included; 8 hours.
        most_open_sessions: in the whole installation at once.
        may_open_roles: whose requests count, below what the table of rights allows.
        needs_licence: every device needs a licence, also where its project's policy asks for none.
        longest_command_s: how long a command may wait for its device; a week.
        most_waiting_commands: for one device.
    """

    longest_session_s: int = 28_800
    most_open_sessions: int = 100
    may_open_roles: tuple[str, ...] = ("owner", "admin")
    needs_licence: bool = False
    longest_command_s: int = 604_800
    most_waiting_commands: int = 50


@dataclass(frozen=True, slots=True)
class LicenceFacts:
    """What is the case with a device's licence.

    Attributes:
        is_needed: by the project's policy.
        licence: the one that lasts longest of those that an issuer signed for this device.
        code: without one, why the device's newest licence does not count.
        agent_version: as the device says, which is not signed.
        least_agent: the project's; empty where any will do.
    """

    is_needed: bool = False
    device: str = ""
    licence: Licence | None = None
    code: str = "licence.missing"
    agent_version: str = ""
    least_agent: str = ""


@dataclass(frozen=True, slots=True)
class OnFacts:
    """What is the case when an ON is decided.

    Attributes:
        role: the asker's role in the device's project as it is now; None when they are no member any more.
        has_relay: the device has a relay that is not removed, and a port.
        port_is_taken: another live session uses this relay and one of the ports.
        forwards_fault: why the forwards that were chosen cannot go with it, or None.
        live_sessions: in the whole installation.
    """

    role: str | None
    asked_at: datetime
    duration_s: int
    is_blocked: bool
    has_joined: bool
    has_relay: bool
    relay_is_paired: bool
    port_is_taken: bool
    has_engineer_pair: bool
    live_sessions: int
    licence: LicenceFacts = LicenceFacts()
    forwards_fault: str | None = None


@dataclass(frozen=True, slots=True)
class ExtendFacts:
    """What is the case when an extension is decided."""

    role: str | None
    asked_at: datetime
    duration_s: int
    is_blocked: bool
    is_live: bool
    has_relay: bool
    requested_at: datetime
    ends_at: datetime
    licence: LicenceFacts = LicenceFacts()


def refusal_of_licence(facts: LicenceFacts, ceilings: Ceilings, now: datetime) -> str | None:
    """Say why a device may not be maintained under the policy, or None; the newest licence's own fault is named first."""
    if not (facts.is_needed or ceilings.needs_licence):
        return None
    licence = facts.licence
    if licence is None:
        return facts.code
    answers = (
        ("licence.other-device", licence.device != facts.device),
        ("licence.expired", licence.valid_until <= now),
        ("licence.agent-too-old", _is_too_old_an_agent(facts, licence)),
    )
    return next((code for code, is_so in answers if is_so), None)


def _is_too_old_an_agent(facts: LicenceFacts, licence: Licence) -> bool:
    return any(least and is_older(facts.agent_version, least) for least in (licence.least_agent, facts.least_agent))


def refusal_of_on(facts: OnFacts, ceilings: Ceilings, now: datetime) -> str | None:
    """Say why a door is not opened, or None."""
    answers = (
        ("signer.not-entitled", not _is_entitled(facts.role, ceilings)),
        ("signer.too-old", _is_too_old(facts.asked_at, now)),
        ("signer.too-long", not 0 < facts.duration_s <= ceilings.longest_session_s),
        ("signer.blocked", facts.is_blocked),
        ("signer.not-joined", not facts.has_joined),
        ("signer.no-relay", not facts.has_relay),
        ("relay.not-paired", not facts.relay_is_paired),
        ("signer.no-keys", not facts.has_engineer_pair),
        (facts.forwards_fault or "", facts.forwards_fault is not None),
        ("signer.port-taken", facts.port_is_taken),
        ("signer.too-many", facts.live_sessions >= ceilings.most_open_sessions),
    )
    code = next((code for code, is_so in answers if is_so), None)
    return code or refusal_of_licence(facts.licence, ceilings, now)


def refusal_of_extension(facts: ExtendFacts, ceilings: Ceilings, now: datetime) -> str | None:
    """Say why a session is not made longer, or None; the ceiling counts from the session's first request."""
    ends_at = extended_end(facts, now)
    answers = (
        ("signer.not-entitled", not _is_entitled(facts.role, ceilings)),
        ("signer.too-old", _is_too_old(facts.asked_at, now)),
        ("signer.blocked", facts.is_blocked),
        ("ask.not-open", not facts.is_live or facts.ends_at <= now),
        ("signer.no-relay", not facts.has_relay),
        ("signer.too-long", ends_at - facts.requested_at > timedelta(seconds=ceilings.longest_session_s)),
    )
    code = next((code for code, is_so in answers if is_so), None)
    return code or refusal_of_licence(facts.licence, ceilings, now)


def refusal_of_settings(role: str | None, *, is_blocked: bool) -> str | None:
    """Say why settings are not asked of a device, or None; ceilings concern doors alone."""
    if not may(role, Right.MANAGE_DEVICES):
        return "signer.not-entitled"
    return "signer.blocked" if is_blocked else None


def extended_end(facts: ExtendFacts, now: datetime) -> datetime:
    """Give the session's new end: the duration from now, and never before the old one."""
    return max(facts.ends_at, now + timedelta(seconds=facts.duration_s))


def next_revision(held: Revision | None, epoch: int) -> Revision:
    """Give the revision after ``held``; a new epoch of the console begins at 1."""
    if held is None or held.epoch < epoch:
        return Revision(epoch, 1)
    return Revision(held.epoch, held.number + 1)


def remaining_s(ends_at: datetime, now: datetime) -> int:
    """Give the whole seconds from ``now`` until the end, at least one."""
    return max(1, -((now - ends_at) // timedelta(seconds=1)))


def _is_entitled(role: str | None, ceilings: Ceilings) -> bool:
    return may(role, Right.TOGGLE) and role in ceilings.may_open_roles


def _is_too_old(asked_at: datetime, now: datetime) -> bool:
    """Tell whether an intent's time is not about now; one from the future would move what ceilings count from."""
    return now - asked_at > LONGEST_WAIT or asked_at - now > CLOCKS_DIFFER
