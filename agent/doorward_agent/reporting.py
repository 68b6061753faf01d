"""What the device says of itself in an ask, and whether that has changed since the last one (protocol.md §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol.asks import CommandReport, DoorReport, SettingsReport
from doorward_protocol.digests import Digest
from doorward_protocol.revisions import Revision

from doorward_agent.errands import Errands
from doorward_agent.holdings import Holdings
from doorward_agent.machine import DoorMachine
from doorward_agent.policy import Session, needs_order
from doorward_agent.settling import Standing
from doorward_agent.states import DoorState

_AT_WORK: Final = frozenset({DoorState.OPENING, DoorState.RETRYING})


@dataclass(frozen=True, slots=True)
class Report:
    """The part of an ask whose every change is told at once."""

    door: DoorReport
    settings: SettingsReport
    runner_nonce: str | None
    command: CommandReport
    verbs: tuple[str, ...]
    knows_hooks: bool
    wish: str | None


def report_of(door: DoorMachine, kept: Holdings, errands: Errands, runner_nonce: str | None) -> Report:
    """Say all of it."""
    return Report(
        door_report(door.state, door.session, door.last_code, kept.part("door")),
        settings_report(kept.part("settings"), kept.settings, errands.standing(kept)),
        runner_nonce,
        errands.report(kept),
        errands.offered,
        errands.knows_hooks,
        errands.wish,
    )


def door_report(
    state: DoorState, session: Session | None, last_code: str | None, held: tuple[Revision, Digest | None]
) -> DoorReport:
    """Say how the door stands; after a session that failed for good its code stays until the next one."""
    code = last_code if session is None else session.code
    lacks_order = session is not None and state in _AT_WORK and needs_order(session)
    return DoorReport(state.value, None if session is None else session.id, held[0], held[1], code, lacks_order)


def settings_report(
    held: tuple[Revision, Digest | None], values: Mapping[str, Any], standing: Standing
) -> SettingsReport:
    """Say which settings are held, and how their trial stands where there is or was one."""
    return SettingsReport(held[0], held[1], values, standing.state, standing.code, standing.lacks)


def shown_of(door: DoorMachine) -> Mapping[str, Any]:
    """Give what ``doorward-agent status`` shows of the door."""
    session = door.session
    code = door.last_code if session is None else session.code
    return {"state": door.state.value, "session": None if session is None else session.id, "code": code}
