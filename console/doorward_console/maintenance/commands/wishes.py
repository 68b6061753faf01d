"""Commands that no person asks for. Called by the worker.

Rehearsals: a device's wish, every night, and settings that are on trial. Settings are read once in each boot of a device,
and again when a trial has ended. Each becomes a command like any other, decided by the signer; nothing opens by it, so nobody has to vouch for it. Asks are not
signed, so a wish is granted at most once in ten seconds and device.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from doorward_protocol.commands import READ_SETTINGS
from doorward_protocol.rehearsal import VERB

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.asks import has_twin
from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.history.writing import note
from doorward_console.maintenance.commands.deciding import can
from doorward_console.maintenance.models import Command, Session

BY_DEVICE: Final = "the device itself"
BY_NIGHT: Final = "the console, every night"
BY_TRIAL: Final = "the console, for settings on trial"
BY_BOOT: Final = "the console, since the device started"
BY_TRIALS_END: Final = "the console, since a trial of settings ended"
NIGHT_BEGINS: Final = timedelta(hours=1)
NIGHT_MINUTES: Final = 240
"""From 01:00 to 05:00 UTC each device has a minute of its own: 10,000 devices are 42 a minute."""
_AGAIN: Final = timedelta(seconds=10)
_NIGHTLY_AGAIN: Final = timedelta(hours=1)
"""Of several workers one asks."""
_TRIAL_AGAIN: Final = timedelta(seconds=15)
_TRIED: Final = ("confirmed", "reverted")
_CAUGHT_UP: Final = timedelta(minutes=5)
"""Minutes that a worker slept through beyond these are left for the next night: no storm after an outage."""
_EXPIRES: Final = timedelta(minutes=10)


def hear(wishes: Iterable[tuple[str, str | None]], now: datetime) -> int:
    """Grant devices' wishes; gives how many were."""
    return sum(_ask(device, BY_DEVICE, _AGAIN, now) for device, wish in wishes if wish == VERB)


def ask_nightly(since: datetime, now: datetime) -> int:
    """Have those devices rehearse whose minute of the night began after ``since``; gives how many."""
    minutes = _minutes(max(since, now - _CAUGHT_UP), now)
    if not minutes:
        return 0
    idle = _there().exclude(Exists(Session.objects.filter(device=OuterRef("pk"), state__in=Session.LIVE)))
    due = [device for device in idle.values_list("pk", flat=True) if minute_of(device) in minutes]
    return sum(_ask(device, BY_NIGHT, _NIGHTLY_AGAIN, now) for device in due)


def ask_on_trial(now: datetime) -> int:
    """Have devices rehearse that try new settings: the trial is confirmed by it."""
    trying = _there().filter(settings_state="trying", settings_at__isnull=False)
    count = 0
    for device in trying:
        well = Command.objects.filter(device=device, verb=VERB, begun_at__gte=device.settings_at)
        if not well.filter(state=Command.State.DONE).exists():
            count += _ask(device.pk, BY_TRIAL, _TRIAL_AGAIN, now, device.settings_at)
    return count


def read_settings(devices: Iterable[str], now: datetime) -> int:
    """Have those of the devices, just heard, say how they are set that have started, or ended a trial, since; gives how many.

    Two machines that speak as one device would start at each other's every word: they are not asked.
    """
    is_new = ~Q(settings_read__asked_boot=F("boot"))
    has_tried = Q(settings_state__in=_TRIED, settings_at__gt=F("settings_read__asked_at"))
    joined = Device.objects.filter(pk__in=list(devices), state=Device.State.JOINED)
    due = [one for one in joined.filter(is_new | has_tried).select_related("settings_read") if not has_twin(one, now)]
    return sum(_ask_to_read(one, now) for one in due if can(one.verbs, READ_SETTINGS))


@transaction.atomic
def _ask_to_read(device: Device, now: datetime) -> bool:
    before: SettingsRead | None = getattr(device, "settings_read", None)
    is_new = before is None or before.asked_boot != device.boot
    if not _ask(device.pk, BY_BOOT if is_new else BY_TRIALS_END, _AGAIN, now, verb=READ_SETTINGS):
        return False
    SettingsRead.objects.update_or_create(device=device, defaults={"asked_boot": device.boot, "asked_at": now})
    return True


def minute_of(device: str) -> int:
    """Give a device's minute of the night: the same each night, and spread over all of them."""
    return int.from_bytes(hashlib.sha256(device.encode()).digest()[:4], "big") % NIGHT_MINUTES


def _minutes(since: datetime, now: datetime) -> frozenset[int]:
    """Give the minutes of the night that began after ``since`` and not after ``now``."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = ((one - midnight - NIGHT_BEGINS) // timedelta(minutes=1) for one in (since, now))
    return frozenset(range(max(first + 1, 0), min(last + 1, NIGHT_MINUTES)))


def _there() -> "QuerySet[Device]":
    """Give connected devices with a relay."""
    found: QuerySet[Device] = Device.objects.filter(
        state=Device.State.JOINED, presence="connected", relay__isnull=False, relay_port__isnull=False
    )
    return found


@transaction.atomic
def _ask(
    device_id: str, by: str, again: timedelta, now: datetime, since: datetime | None = None, *, verb: str = VERB
) -> bool:
    """Ask for a rehearsal, or another ``verb``, unless one is under way or was asked for just now; tells whether one was asked for.

    ``since`` narrows what counts as just now: what was asked for before a trial says nothing about it.
    """
    device = Device.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=device_id)
    before = Command.objects.filter(device=device, verb=verb)
    lately = before.filter(at__gt=max(now - again, since) if since else now - again)
    if not can(device.verbs, verb) or before.filter(state__in=Command.LIVE).exists() or lately.exists():
        return False
    made = Command.objects.create(
        project=device.project, device=device, verb=verb, by_name=by, at=now, expires_at=now + _EXPIRES
    )
    said = {"by": by, "command": made.pk, "verb": verb, "reason": "", "arguments": {}}
    note(device.project, "command.asked", device=device.pk, data=said)
    ring("signer", "web")
    return True
