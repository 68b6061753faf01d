"""How a device stands with the settings that were asked of it, for people: on trial, confirmed, put back, and why.

Says what the device's own ask said last; decides nothing. Read by a device's page.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from doorward_protocol.reasons import Reason, reason_of

from doorward_console.fleet.models import Device
from doorward_console.maintenance.documents.standing import STATES

_WORDS: Final = {**STATES, "confirmed": ("Confirmed", "done", "")}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the newest settings fare.

    Attributes:
        at: when the device first said so.
        reason: why they were put back, or could not be.
    """

    word: str
    tone: str
    about: str
    at: datetime | None
    reason: Reason | None


def settings_standing(device: Device) -> Standing | None:
    """Say how the device's settings stand; None where nobody ever asked for any."""
    if device.settings_state not in _WORDS:
        return None
    word, tone, about = _WORDS[device.settings_state]
    reason = reason_of(device.settings_code) if device.settings_code else None
    return Standing(word, tone, about, device.settings_at, reason)
