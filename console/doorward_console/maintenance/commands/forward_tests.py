"""What came of tests of a device's forwards, for people: the last one of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import Reason, reason_of
from doorward_protocol.targets import TEST, Tried, tried_from_result

from doorward_console.fleet.models import Device
from doorward_console.maintenance.models import Command

_LOOKED_AT = 50
"""Tests back: the last ones of at most as many forwards as a device has."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a forward's last test went.

    Attributes:
        connected_ms: how long the target took to take the connection; None where it did not.
    """

    at: datetime
    address: str
    banner: str
    connected_ms: int | None
    reason: Reason | None


def tests_of(device: Device) -> Mapping[str, Told]:
    """Give the last test of each forward, by name."""
    ended = Command.objects.filter(device=device, verb=TEST, ended_at__isnull=False, result__isnull=False)
    told: dict[str, Told] = {}
    for command in ended.order_by("-ended_at")[:_LOOKED_AT]:
        tried = _tried(command)
        if tried is not None and tried.name not in told:
            told[tried.name] = _told(command, tried)
    return told


def _tried(command: Command) -> Tried | None:
    try:
        return tried_from_result(command.result or {})
    except Malformed:
        return None


def _told(command: Command, tried: Tried) -> Told:
    connected = next((one.ms for one in tried.steps if one.step == "connect" and one.code is None), None)
    reason = reason_of(command.code) if command.code else None
    return Told(command.ended_at or command.at, tried.address, tried.banner, connected, reason)
