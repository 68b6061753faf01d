"""What devices say of themselves: asks and presence, stored as hints.

An ask is not signed: it moves what is shown, and it makes the console send an order again; nothing else. A blocked device
is not heard. Called by the worker.
"""

from datetime import datetime

from django.db import transaction
from doorward_protocol.asks import Ask

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.times import ms_from_time


@transaction.atomic
def take_ask(ask: Ask, now: datetime) -> bool:
    """Store an ask; False for a device that is unknown, blocked or not joined, and for an ask that came late."""
    device = Device.objects.select_for_update(no_key=True).filter(pk=ask.device, state=Device.State.JOINED).first()
    if device is None or (ask.boot == device.boot and ask.count <= device.ask_count):
        return False
    _store_ask(device, ask, now)
    device.save()
    ring("web")
    return True


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
