"""Asking for settings: judged by the device's own schema first, and never over what somebody else asked for meanwhile.

Called by pages and API alike; what is left to do once the document is good is ``maintenance.asking``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doorward_protocol.reasons import reason_of

from doorward_console.edges.schema_check import NotJudged, judged
from doorward_console.fleet.models import Device
from doorward_console.maintenance import asking
from doorward_console.maintenance.asking import NotAsked
from doorward_console.maintenance.documents.judging import Fault
from doorward_console.maintenance.documents.paths import differences
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.documents.secrecy import with_sealed
from doorward_console.maintenance.documents.wanted import starting_values, wanted_of
from doorward_console.maintenance.models import Intent
from doorward_console.people.members import Who


class NotValid(NotAsked):
    """The document is not as the device's schema says; ``faults`` names every place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("settings.not-valid")
        self.faults = tuple(faults)

    @property
    def message(self) -> str:
        """Say them all in one sentence."""
        return (
            reason_of(self.code).meaning + " " + "; ".join(f"{at or 'the document'} {says}" for at, says in self.faults)
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A whole document to be wanted.

    Attributes:
        based_on: the mark of what the asker saw (``Wanted.mark``); None to ask whatever stands there by now.
    """

    values: Mapping[str, Any]
    based_on: str | None = None


def ask(device: Device, change: Change, who: Who) -> Intent:
    """Ask for the whole document, its secrets sealed; the device takes it when it asks next.

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotValid: ``settings.not-valid``, with every fault.
        NotAsked: ``settings.not-judged``, ``settings.no-key``, ``settings.changed-meanwhile`` or ``ask.settings-too-large``.
    """
    asking.check_settings(device, who.user, change.values)
    if faults := faults_in(device, change.values):
        raise NotValid(faults)
    values = with_sealed(device, change.values)
    before = starting_values(device, wanted_of(device))
    paths = [one.path for one in differences(before, values)]
    named = asking.Named(paths, change.based_on)
    return asking.ask_settings(device, who.user, who.from_address, values, named)


def faults_in(device: Device, values: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Judge a document by the schema that the device gave; without one everything is left to the device's own hook.

    Raises:
        NotAsked: ``settings.not-judged``.
    """
    read = read_from(device)
    if read is None or read.schema is None:
        return ()
    try:
        return judged(read.schema, values)
    except NotJudged as why:
        raise NotAsked("settings.not-judged") from why
