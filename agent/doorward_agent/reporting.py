"""What the device says of itself in an ask, and whether that has changed since the last one (protocol.md §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorward_protocol.asks import DoorReport, SettingsReport
from doorward_protocol.digests import Digest
from doorward_protocol.revisions import Revision

from doorward_agent.policy import Session
from doorward_agent.states import DoorState


@dataclass(frozen=True, slots=True)
class Report:
    """The part of an ask whose every change is told at once."""

    door: DoorReport
    settings: SettingsReport
    runner_nonce: str | None


def door_report(
    state: DoorState, session: Session | None, last_code: str | None, held: tuple[Revision, Digest | None]
) -> DoorReport:
    """Say how the door stands; after a session that failed for good its code stays until the next one."""
    code = last_code if session is None else session.code
    return DoorReport(state.value, None if session is None else session.id, held[0], held[1], code)


def settings_report(held: tuple[Revision, Digest | None], values: Mapping[str, Any]) -> SettingsReport:
    return SettingsReport(held[0], held[1], values)
