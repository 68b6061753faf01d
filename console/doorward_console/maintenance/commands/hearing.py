"""What the worker does about commands: sends those that are signed, and writes down what came of each.

A device's ask that holds a command's revision says that it has begun; its signed records say when, and how it went. Their end
is written into the console's own history, too. Many are looked at with one statement.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from doorward_protocol.commands import READ_SETTINGS
from doorward_protocol.records import Record

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note_each
from doorward_console.maintenance.commands import rehearsals
from doorward_console.maintenance.commands.deciding import can, lacking
from doorward_console.maintenance.commands.holding import hold
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.commands.truth import (
    Begun,
    Declined,
    Ended,
    Fact,
    fact_from_record,
    refused_order,
    state_after,
)
from doorward_console.maintenance.documents import reading
from doorward_console.maintenance.models import Command, Desired, Order
from doorward_console.rows import store_each

State = Command.State
Publish = Callable[[str, bytes], bool]

AT_ONCE: Final = 200
"""Orders that are sent in one transaction."""
SILENT_AFTER_MINUTES: Final = 15
"""A command that began, of which a device that is there says nothing more for so long, has no end that anybody knows: longer
than any hook may take and any machine needs to come back."""


def send_commands(publish: Publish, now: datetime) -> int:
    """Publish commands that are signed and still wanted; gives how many went. What the broker does not take waits."""
    count = 0
    while True:
        went, is_all = _send_some(publish, now)
        count += went
        if is_all:
            return count


@transaction.atomic
def _send_some(publish: Publish, now: datetime) -> tuple[int, bool]:
    signed = Order.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
    ready = signed.filter(state=Order.State.SIGNED, part="command").exclude(device__in=rehearsals.without_grant())
    orders = list(ready.order_by("signed_at", "pk")[:AT_ONCE])
    if not orders:
        return 0, True
    wanted = _wanted_of(orders, now)
    stale = [one.pk for one in orders if (one.device_id, one.epoch, one.revision) not in wanted]
    going = [one for one in orders if one.pk not in stale]
    sent = [one.pk for one in going if publish(one.device_id, bytes(one.envelope or b""))]
    Order.objects.filter(pk__in=stale).update(state=Order.State.DROPPED)
    Order.objects.filter(pk__in=sent).update(state=Order.State.SENT, sent_at=now)
    return len(sent), len(orders) < AT_ONCE or len(sent) < len(going)


def _wanted_of(orders: Sequence[Order], now: datetime) -> set[tuple[str, int, int]]:
    told = Desired.objects.filter(part="command", device__in=[one.device_id for one in orders])
    told = told.filter(command__state__in=Command.TOLD, command__expires_at__gt=now, device__state=Device.State.JOINED)
    rows = told.values_list("device_id", "epoch", "revision", "command__verb", "device__verbs")
    return {(device, epoch, revision) for device, epoch, revision, verb, verbs in rows if can(verbs, verb)}


def hear_taken(devices: Iterable[str], now: datetime) -> int:
    """Let those commands have begun that these devices, which were just heard, say that they hold; gives how many.

    Those that have more in their queue, and are there now, are told: the signer is woken.
    """
    devices = list(devices)
    if devices and Command.objects.filter(device__in=devices, state=State.QUEUED).exists():
        ring("signer")
    held = Desired.objects.filter(
        part="command", device__in=devices, command__state=State.ORDERED, device__command_needs_order=False,
        epoch=F("device__command_epoch"), revision=F("device__command_revision"), digest=F("device__command_digest"),
    )  # fmt: skip
    taken = list(held.values_list("command_id", flat=True))
    if not taken:
        return 0
    with transaction.atomic():
        ring("web")
        begun = hold(Command.objects.filter(pk__in=taken, state=State.ORDERED)).values_list("pk", flat=True)
        count: int = Command.objects.filter(pk__in=list(begun)).update(state=State.BEGUN, begun_at=now)
        return count


def hear_records(author: str, records: Sequence[Record], now: datetime) -> int:
    """Apply what a device's joined records say of its commands; gives how many changed."""
    kind, _, device = author.partition(":")
    if kind != "device":
        return 0
    facts = [said for record in records if (said := _fact_of(record, device)) is not None]
    return sum(_apply(name, device, fact, now) for name, fact in facts)


def is_plain(record: Record) -> bool:
    """Tell whether a record speaks of commands alone, and can be heard with those of other devices."""
    verb, is_commands = record.fact.verb, record.fact.data.get("part") == "command"
    is_of_command = verb in {"command.begun", "command.done"} or (verb == "order.accepted" and is_commands)
    return record.fact.session is None and is_of_command


def hear_together(joined: Mapping[str, Sequence[Record]], now: datetime) -> int:
    """Apply what plain records of many devices say of their commands, with few statements; gives how many changed."""
    said = [
        (author.removeprefix("device:"), *found)
        for author, records in joined.items()
        for record in records
        if (found := fact_from_record(record)) is not None
    ]
    held = _held_of({name for _, name, _ in said}, {device for device, _, _ in said})
    changed: dict[str, Command] = {}
    ended: dict[str, list[Command]] = {}
    for device, name, fact in said:
        command = held.get(name)
        if command is None or command.device_id != device:
            continue
        was = command.state
        if not _change(command, fact, now):
            continue
        changed[name] = command
        if command.state != State.BEGUN:
            ended.setdefault(was if was in _SAID else "", []).append(command)
    store_each(list(changed.values()), _HEARD)
    _take_readings(changed.values(), now)
    for was, commands in ended.items():
        _write_end(commands, was)
    if changed:
        ring("signer", "web")
    return len(changed)


def _held_of(names: Collection[str], devices: Collection[str]) -> dict[str, Command]:
    """Hold those of these devices' commands: nobody speaks of another's, nor holds it up."""
    return {one.pk: one for one in hold(Command.objects.filter(pk__in=names, device__in=devices))} if names else {}


def _change(command: Command, fact: Fact, now: datetime) -> bool:
    """Let a fact change a command that is held; tells whether it did. Stores nothing."""
    after = state_after(command.state, command.code, fact)
    if after is None:
        return False
    for field, value in {"state": after, **_values(command, fact, now)}.items():
        setattr(command, field, value)
    return True


def _take_readings(commands: Iterable[Command], now: datetime) -> None:
    """Keep how devices say that they are set, where that was the command and it has gone well."""
    for command in commands:
        if command.verb == READ_SETTINGS and command.state == State.DONE:
            reading.take(command.device_id, command.result or {}, now)


def _fact_of(record: Record, device: str) -> tuple[str, Fact] | None:
    refused = refused_order(record)
    if refused is None:
        return fact_from_record(record)
    order = Order.objects.filter(pk=refused[0], device=device, part="command").first()
    told = None if order is None else Desired.objects.filter(
        device=device, part="command", epoch=order.epoch, revision=order.revision, command__isnull=False
    ).first()  # fmt: skip
    return None if told is None else (str(told.command_id), Declined(refused[1]))


def _apply(name: str, device: str, fact: Fact, now: datetime) -> bool:
    with transaction.atomic():
        found = Command.objects.select_for_update(no_key=True, of=("self",)).filter(pk=name, device=device)
        command: Command | None = found.first()
        was = "" if command is None else command.state
        if command is None or not _change(command, fact, now):
            return False
        command.save(update_fields=list(_HEARD))  # what was asked for is not the worker's to write
        _take_readings([command], now)
        if command.state != State.BEGUN:
            _write_end([command], was if was in _SAID else "")
        ring("signer", "web")
        return True


_HEARD: Final = ("state", "code", "begun_at", "ended_at", "ended_by_name", "status", "said", "result", "lasted_ms")
"""What a device's word changes of a command."""
_SAID: Final = frozenset({State.EXPIRED, State.CANCELLED, State.FAILED})
"""Ends that stand in the history already when a later word overrides them."""


def _values(command: Command, fact: Fact, now: datetime) -> dict[str, Any]:
    match fact:
        case Begun():
            return {"begun_at": command.begun_at or now, "code": "", "ended_at": None, "ended_by_name": ""}
        case Declined(code):
            return {"code": code, "ended_at": now}
        case Ended(outcome):
            said = {"status": outcome.status, "said": outcome.said, "lasted_ms": outcome.lasted_ms}
            result = None if outcome.result is None else dict(outcome.result)
            begun_at = command.begun_at or now
            ended = {"code": outcome.code or "", "ended_at": now, "ended_by_name": "", "begun_at": begun_at}
            return {**ended, **said, "result": result}


def hear_put(rehearsal: int, code: str | None, now: datetime) -> None:
    """Note that a relay has a rehearsal's grant, or why not: no door would open there either."""
    command = rehearsals.was_put(rehearsal, code)
    if command is not None and code is not None:
        end(command, State.FAILED, code, now)


def apply_time(now: datetime) -> int:
    """End what nobody will end any more: what waited too long, and what began and was never heard of again."""
    waiting = Command.objects.filter(state__in=Command.WAITING, expires_at__lte=now).select_related("device")
    silent_since = now - timedelta(minutes=SILENT_AFTER_MINUTES)
    silent = Command.objects.filter(state=State.BEGUN, begun_at__lte=silent_since, expires_at__lte=now)
    silent = silent.filter(device__presence="connected", device__presence_at__lte=silent_since)
    late = [(one, State.EXPIRED, _why_expired(one)) for one in waiting[:AT_ONCE]]
    late += [(one, State.FAILED, "command.interrupted") for one in silent[:AT_ONCE]]
    return sum(end(command, state, code, now) for command, state, code in late)


def _why_expired(command: Command) -> str:
    """Tell the device that was not there from the one that cannot do it, and from the one whose runner never said what it can."""
    device = command.device
    if can(device.verbs, command.verb) or device.seen_at is None:
        return "command.expired"
    if device.knows_hooks:
        return lacking(command.verb)
    return "runner.unavailable" if device.presence == "connected" else "command.expired"


def end(command: Command, state: str, code: str, now: datetime) -> bool:
    """End a command, unless something was heard of it meanwhile."""
    with transaction.atomic():
        same = Command.objects.filter(pk=command.pk, state=command.state)
        if not same.update(state=state, code=code, ended_at=now):
            return False  # something was heard of it meanwhile
        command.state, command.code = state, code
        _write_end([command], "")
        ring("signer", "web")
        return True


def _write_end(commands: Sequence[Command], was: str) -> None:
    before = {"was": was} if was else {}
    note_each("command.ended", (
        (one.project_id, one.device_id, {**said_of(one), "state": one.state, "code": one.code, **before})
        for one in commands
    ))  # fmt: skip
