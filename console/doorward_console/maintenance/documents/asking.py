"""Asking for settings: judged by the device's own schema first, and never over what somebody else asked for meanwhile.

Called by pages and API alike. The history names the places that change, and never what stands there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol.orders import MAX_SETTINGS_BYTES, ApplySettings, text_from_body
from doorward_protocol.reasons import reason_of

from doorward_console.edges.doorbell import ring
from doorward_console.edges.schema_check import NotJudged, judged
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.maintenance.asker import Asker, NotAsked, entitled, intent_of
from doorward_console.maintenance.closing import held
from doorward_console.maintenance.documents.faults import Fault
from doorward_console.maintenance.documents.paths import differences
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.documents.secrecy import with_sealed
from doorward_console.maintenance.documents.wanted import starting_values, wanted_of
from doorward_console.maintenance.models import Intent
from doorward_console.people.members import Who
from doorward_console.people.rights import Right

MOST_PATHS: Final = 50
"""Of a document with more changes the history names the first and says how many there are."""


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
    asker = entitled(device, who.user, who.from_address, Right.MANAGE_DEVICES)
    if len(text_from_body(ApplySettings(change.values)).encode()) > MAX_SETTINGS_BYTES:
        raise NotAsked("ask.settings-too-large")
    if faults := faults_in(device, change.values):
        raise NotValid(faults)
    for _ in range(_TRIES):
        try:
            return _ask(device, change, asker)
        except NotAsked as no:  # noqa: PERF203 - a few times at most
            if change.based_on is not None or no.code != "settings.changed-meanwhile":
                raise
    raise NotAsked("settings.changed-meanwhile")


def _ask(device: Device, change: Change, asker: Asker) -> Intent:
    """Ask over what stands there now: a secret that is to stay, and what the history names as changed, are of that alone."""
    seen = wanted_of(device)
    values = with_sealed(device, change.values)
    paths = [one.path for one in differences(starting_values(device, seen), values)]
    with held(device):
        if wanted_of(device).mark != (change.based_on or seen.mark):
            raise NotAsked("settings.changed-meanwhile")
        intent = intent_of(device, asker, Intent.Kind.SETTINGS, values=values)
        facts = asker.facts(paths=paths[:MOST_PATHS], count=len(paths))
        note(device.project, "settings.asked", device=device.id, data=facts)
        ring("signer", "web")
        return intent


_TRIES: Final = 10
"""How often somebody else may be quicker than one who does not mind what stands there."""


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
