"""What devices say of themselves: asks and presence, stored as hints.

An ask is not signed: it moves what is shown, and it makes the console send an order again; nothing else. A blocked device
is not heard. A boot id never comes back after another: one that does, and goes on counting, is a second machine's that has
the device's identity, and people are told. Called by the worker.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from doorward_protocol.asks import Ask, SettingsReport
from doorward_protocol.ids import DeviceId
from doorward_protocol.targets import Offered, is_forward_name

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.rows import store_each
from doorward_console.times import ms_from_time

_SAYS: Final = (
    "boot", "ask_count", "former_boot", "former_count", "twin_at", "nonce", "runner_nonce", "seen_at", "clock_skew_ms", "agent_version", "facts", "presence",
    "presence_at", "door_state", "door_session", "door_code", "door_epoch", "door_revision", "door_digest",
    "door_needs_order", "settings_epoch", "settings_revision", "settings_digest", "settings_reported", "settings_state",
    "settings_code", "settings_lacks", "settings_at", "command_epoch",
    "command_revision", "command_digest", "command_needs_order", "verbs", "knows_hooks", "offered",
)  # fmt: skip
"""What an ask tells of a device."""
TWIN: Final = "device.two-machines"
TWIN_SHOWN: Final = timedelta(hours=1)
"""Two machines that throw each other off the broker are seen every few minutes."""


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
    heard: list[Device] = []
    for device in joined.order_by("pk"):  # in one order everywhere: two workers must not wait for each other
        ask = asks[device.pk]
        if ask.count <= _counts_of(device).get(ask.boot, -1):
            continue
        _notice_twin(device, ask, now)
        _take_ask(device, ask, now)
        heard.append(device)
    if heard:
        store_each(heard, _SAYS)
        ring("web")
    return frozenset(DeviceId(device.pk) for device in heard)


def _counts_of(device: Device) -> dict[str, int]:
    """Give how far this boot and the one before have counted."""
    return {device.former_boot: device.former_count, device.boot: device.ask_count}


def has_twin(device: Device, now: datetime) -> bool:
    """Tell whether two machines speak as this device."""
    return device.twin_at is not None and now - device.twin_at < TWIN_SHOWN


def _notice_twin(device: Device, ask: Ask, now: datetime) -> None:
    """Tell people when a boot comes back that had given way to another; an ask is not signed, so nothing else follows."""
    if not device.former_boot or ask.boot != device.former_boot:
        return
    if not has_twin(device, now):
        data = {"code": TWIN, "hostname": dict(ask.facts).get("hostname", "")}
        note(device.project, "console.alarm", device=device.pk, data=data)
    device.twin_at = now


def _take_ask(device: Device, ask: Ask, now: datetime) -> None:
    if ask.boot != device.boot:
        device.former_boot, device.former_count = device.boot, device.ask_count
    device.boot, device.ask_count = ask.boot, ask.count
    device.nonce, device.runner_nonce = ask.nonce, ask.runner_nonce
    device.seen_at, device.clock_skew_ms = now, ask.clock_at - ms_from_time(now)
    device.agent_version, device.facts = ask.agent, dict(ask.facts)
    if device.presence != "connected":
        device.presence, device.presence_at = "connected", now
    door, command = ask.door, ask.command
    device.door_state, device.door_session, device.door_code = door.state, door.session, door.code
    device.door_epoch, device.door_revision = door.revision
    device.door_digest, device.door_needs_order = door.digest, door.needs_order
    _take_settings(device, ask.settings, now)
    device.command_epoch, device.command_revision = command.revision
    device.command_digest, device.command_needs_order = command.digest, command.needs_order
    _take_verbs(device, ask)
    device.offered = None if ask.forwards is None else _offered(ask.forwards)


def _take_verbs(device: Device, ask: Ask) -> None:
    """Take what the device can do; while its agent has just started and does not know its hooks yet, they are what they were."""
    is_known = device.knows_hooks and device.verbs is not None
    if ask.knows_hooks or not is_known:
        device.verbs, device.knows_hooks = None if ask.verbs is None else list(ask.verbs), ask.knows_hooks


def _offered(forwards: Iterable[Offered]) -> dict[str, str]:
    """Keep what may be a forward's name: it stands in addresses and forms, and nobody signed it."""
    return {one.name: one.target for one in forwards if is_forward_name(one.name)}


def _take_settings(device: Device, said: SettingsReport, now: datetime) -> None:
    before = (device.settings_epoch, device.settings_revision, device.settings_state)
    device.settings_epoch, device.settings_revision = said.revision
    device.settings_digest, device.settings_reported = said.digest, dict(said.values)
    device.settings_state, device.settings_code, device.settings_lacks = said.state, said.code, said.lacks
    if before != (*said.revision, said.state):
        device.settings_at = now


def take_presence(device_id: str, state: str, now: datetime) -> bool:
    """Store ``connected`` or ``away``; tells whether it is news."""
    devices = Device.objects.filter(pk=device_id, state=Device.State.JOINED).exclude(presence=state)
    with transaction.atomic():
        is_news = bool(devices.update(presence=state, presence_at=now))
        if is_news:
            ring("web")
    return is_news
