"""What a device answered when it was asked how it is set: kept, one answer a device, the newest.

The words are the device's and the schema its maker's: kept as they came if they are of the right shape, and judged where they
are used. Called by the worker, which has verified the record.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from doorward_console.fleet.models import Device, SettingsRead


def take(device_id: str, answer: Mapping[str, Any], now: datetime) -> None:
    """Keep what a device's hook said: ``values`` and ``schema``; what is no object counts as not said."""
    values, schema = answer.get("values"), answer.get("schema")
    said = {
        "values": values if isinstance(values, dict) else {},
        "schema": schema if isinstance(schema, dict) else None,
        "key": answer.get("key") if isinstance(answer.get("key"), dict) else None,
        "read_at": now,
    }
    SettingsRead.objects.update_or_create(device_id=device_id, defaults=said)


def read_from(device: Device) -> SettingsRead | None:
    """Give what the device said last; None before the first time."""
    found: SettingsRead | None = SettingsRead.objects.filter(device=device, read_at__isnull=False).first()
    return found
