"""What devices say of themselves: asks and presence, stored as hints.

An ask is not signed: it moves what is shown, and it makes the console send an order again; nothing else. A blocked device
is not heard. Called by the worker.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from doorward_protocol.asks import Ask
from doorward_protocol.ids import DeviceId

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.times import ms_from_time

_SAYS: Final = (
    "boot", "ask_count", "nonce", "runner_nonce", "seen_at", "clock_skew_ms", "agent_version", "facts", "presence",
    "presence_at", "door_state", "door_session", "door_code", "door_epoch", "door_revision", "door_digest",
    "door_needs_order", "settings_epoch", "settings_revision", "settings_digest", "settings_reported",
)  # fmt: skip
"""What an ask tells of a device."""


def newest(asks: Iterable[Ask]) -> dict[DeviceId, Ask]:
    """Keep of several asks, in the order in which they came, the last word of each device."""
    last: dict[DeviceId, Ask] = {}
    for ask in asks:
        if not _is_late(ask, last.get(ask.device)):
            last[ask.device] = ask
    return last


def _is_late(ask: Ask, before: Ask | None) -> bool:
    return before is not None and ask.boot == before.boot and ask.count <= before.count


@transaction.atomic
def take_asks(asks: Mapping[DeviceId, Ask], now: datetime) -> frozenset[DeviceId]:
    """Store one ask of each device; gives those that were heard.

    Not heard is a device that is unknown, blocked or not joined, and an ask that came late.
    """
    joined = Device.objects.select_for_update(no_key=True).filter(pk__in=asks, state=Device.State.JOINED)
    heard = set()
    for device in joined.order_by("pk"):  # in one order everywhere: two workers must not wait for each other
        ask = asks[device.pk]
        if ask.boot == device.boot and ask.count <= device.ask_count:
            continue
        _store_ask(device, ask, now)
        device.save(update_fields=_SAYS)
        heard.add(ask.device)
    if heard:
        ring("web")
    return frozenset(heard)


def _store_ask(device: Device, ask: Ask, now: datetime) -> None:
    device.boot, device.ask_count = ask.boot, ask.count
    device.nonce, device.runner_nonce = ask.nonce, ask.runner_nonce
    device.seen_at, device.clock_skew_ms = now, ask.clock_at - ms_from_time(now)
    device.agent_version, device.facts = ask.agent, dict(ask.facts)
    if device.presence != "connected":
        device.presence, device.presence_at = "connected", now
    door, settings = ask.door, ask.settings
    device.door_state, device.door_session, device.door_code = door.state, door.session, door.code
    device.door_epoch, device.door_revision = door.revision
    device.door_digest, device.door_needs_order = door.digest, door.needs_order
    device.settings_epoch, device.settings_revision = settings.revision
    device.settings_digest, device.settings_reported = settings.digest, dict(settings.values)


def take_presence(device_id: str, state: str, now: datetime) -> bool:
    """Store ``connected`` or ``away``; tells whether it is news."""
    devices = Device.objects.filter(pk=device_id, state=Device.State.JOINED).exclude(presence=state)
    with transaction.atomic():
        is_news = bool(devices.update(presence=state, presence_at=now))
        if is_news:
            ring("web")
    return is_news
