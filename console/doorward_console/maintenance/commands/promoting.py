"""What the signer does about commands, many in one transaction: decides what was asked, and tells each device its next one.

A device is told one command at a time: the next gets the next revision of the part ``command`` once the one before has ended.
Nothing here is done row by row that can be one statement: a thousand devices asked at once are told within seconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Exists, OuterRef
from django.utils import timezone
from doorward_protocol.asked import Asked
from doorward_protocol.commands import RunCommand
from doorward_protocol.digests import digest_of
from doorward_protocol.ids import CommandId
from doorward_protocol.orders import text_from_body
from doorward_protocol.rehearsal import VERB as REHEARSE
from doorward_protocol.revisions import Revision

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note_each
from doorward_console.identifiers import new_order_id
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.commands import rehearsing
from doorward_console.maintenance.commands.deciding import CommandFacts, can, expiry_of, refusal_of_command
from doorward_console.maintenance.commands.holding import hold
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.decisions import Ceilings, next_revision
from doorward_console.maintenance.models import Command, Desired, Order
from doorward_console.maintenance.sealing import seal_with
from doorward_console.people.membership import role_of
from doorward_console.times import ms_from_time

_Told = tuple[Command, Device, Desired]
AT_ONCE: Final = 200
"""Commands in one transaction: 60 ms of signing, during which other writers of SQLite wait."""
State = Command.State


def undecided_commands() -> list[tuple[str, ...]]:
    """List the commands that nobody has decided about, oldest first, as many together as are decided at once."""
    waiting = Command.objects.filter(state=State.ASKED).order_by("at", "pk")
    return _parts(waiting.values_list("pk", flat=True))


@transaction.atomic
def decide_commands(ceilings: Ceilings, ids: Sequence[str]) -> None:
    """Queue or refuse commands, with their askers' roles and their devices as they are now."""
    now = timezone.now()
    devices = _locked(Command.objects.filter(pk__in=ids).values_list("device_id", flat=True))
    asked = list(hold(Command.objects.filter(pk__in=ids, state=State.ASKED)).select_related("project", "by"))
    waiting = _waiting_of(devices)
    role_in = _Roles()
    codes: dict[str, list[Command]] = {}
    for command in asked:
        facts = _facts(command, devices[command.device_id], role_in(command), waiting[command.device_id])
        code = refusal_of_command(facts, ceilings, now) or ""
        codes.setdefault(code, []).append(command)
        waiting[command.device_id] += not code
    for code, commands in codes.items():
        _settle(code, commands, ceilings, now)
    ring("web")


class _Roles:
    """Looks up each person's role once, as it is now: a thousand commands of one person are one look."""

    def __init__(self) -> None:
        self._known: dict[tuple[int | None, str], str | None] = {}

    def __call__(self, command: Command) -> str | None:
        who = (command.by_id, command.project_id)
        if who not in self._known:
            self._known[who] = role_of(command.by, command.project) if command.by else None
        return self._known[who]


def _settle(code: str, commands: Sequence[Command], ceilings: Ceilings, now: datetime) -> None:
    rows = Command.objects.filter(pk__in=[one.pk for one in commands])
    if not code:
        latest = expiry_of(now, ceilings)
        rows.filter(expires_at__gt=latest).update(expires_at=latest)
        rows.update(state=State.QUEUED)
        return
    rows.update(state=State.REFUSED, code=code, ended_at=now)
    note_each("command.refused", ((one.project_id, one.device_id, {**said_of(one), "code": code}) for one in commands))


def _facts(command: Command, device: Device, role: str | None, waiting: int) -> CommandFacts:
    same_project = command.project_id == device.project_id  # role and history would be another project's
    return CommandFacts(
        role=role if same_project else None,
        is_by_nobody=command.by_id is None and same_project,
        verb=command.verb,
        arguments=command.arguments,
        expires_at=command.expires_at,
        confirm=command.confirm,
        name=command.project.name if command.batch_id else device.name,
        is_blocked=device.state == Device.State.BLOCKED,
        has_joined=device.joined_at is not None,
        has_said_verbs=device.has_said_verbs,
        verbs=device.verbs,
        has_way=command.verb != REHEARSE or rehearsing.has_way(device),
        waiting=waiting,
    )


def _waiting_of(devices: Iterable[str]) -> Counter[str]:
    queued = Command.objects.filter(device__in=list(devices), state__in=(State.QUEUED, *Command.TOLD))
    return Counter(dict(queued.values_list("device_id").annotate(Count("pk")).order_by()))


def free_devices() -> list[tuple[str, ...]]:
    """List the connected devices for which a command is queued while none is under way; the others are told when they ask."""
    busy = Desired.objects.filter(device=OuterRef("device"), part="command", command__state__in=Command.TOLD)
    queued = Command.objects.filter(~Exists(busy), state=State.QUEUED, expires_at__gt=timezone.now())
    queued = queued.filter(device__state=Device.State.JOINED, device__presence="connected").exclude(device__nonce="")
    return _parts(queued.order_by("device_id").values_list("device_id", flat=True).distinct())


@transaction.atomic
def tell_next(keys: SignerKeys, ceilings: Ceilings, ids: Sequence[str]) -> None:
    """Make each of these devices' next command what it should do, and sign the order for the nonces that it has now.

    Each is judged once more: its asker may have lost the right while it waited, and whoever else can write commands (web,
    worker) could have written one that looks as if it were decided.
    """
    now = timezone.now()
    devices = _locked(ids)
    relays = rehearsing.locked_relays(devices)
    held = {
        one.device_id: one for one in Desired.objects.filter(device__in=ids, part="command").select_related("command")
    }
    told: list[_Told] = []
    free = {one: command for one, command in _next_of(devices, now).items() if not _is_busy(held.get(one))}
    for device, command in _judged_again(free, devices, ceilings, now).items():
        arguments: Mapping[str, Any] | None = command.arguments
        if command.verb == REHEARSE:
            arguments = rehearsing.arguments_for(keys, command, devices[device], relays, now)
        if arguments is None:
            continue
        told.append((command, devices[device], _desired(command, arguments, devices[device], held.get(device), now)))
    _store(told, now)
    orders = _orders(keys, told, now)
    _write_down(told, orders)
    if told:
        ring("worker", "web")


def _judged_again(
    chosen: Mapping[str, Command], devices: Mapping[str, Device], ceilings: Ceilings, now: datetime
) -> dict[str, Command]:
    """Give the commands that may still be told, with their ends within the ceiling; the others are refused."""
    role_in, latest = _Roles(), expiry_of(now, ceilings)
    well: dict[str, Command] = {}
    for device, command in chosen.items():
        code = refusal_of_command(_facts(command, devices[device], role_in(command), 0), ceilings, now)
        if code is not None:
            _settle(code, [command], ceilings, now)
            ring("signer", "web")  # the next one in its queue may be told
            continue
        command.expires_at = min(command.expires_at, latest)
        well[device] = command
    Command.objects.filter(pk__in=[one.pk for one in well.values()], expires_at__gt=latest).update(expires_at=latest)
    return well


def _is_busy(held: Desired | None) -> bool:
    return held is not None and held.command is not None and held.command.state in Command.TOLD


def _next_of(devices: Mapping[str, Device], now: datetime) -> dict[str, Command]:
    """Choose of each device's queue the oldest that it can do; what it cannot do waits until it can, or expires."""
    queued = Command.objects.filter(device__in=list(devices), state=State.QUEUED, expires_at__gt=now)
    chosen: dict[str, str] = {}
    for command, device, verb in queued.order_by("at", "pk").values_list("pk", "device_id", "verb"):
        if device not in chosen and can(devices[device].verbs, verb):
            chosen[device] = command
    still = hold(Command.objects.filter(pk__in=chosen.values(), state=State.QUEUED)).select_related("project", "by")
    return {command.device_id: command for command in still}


def _desired(
    command: Command, arguments: Mapping[str, Any], device: Device, held: Desired | None, now: datetime
) -> Desired:
    before = Revision(held.epoch, held.revision) if held else None
    revision = next_revision(before, device.project.epoch)
    asked = Asked(command.by_name, ms_from_time(command.at), command.reason)
    body = RunCommand(CommandId(command.pk), command.verb, arguments, ms_from_time(command.expires_at), asked)
    text = text_from_body(body)
    return Desired(
        device=device,
        part="command",
        epoch=revision.epoch,
        revision=revision.number,
        body=text,
        digest=digest_of(text.encode()),
        command=command,
        at=now,
    )


def _store(told: Sequence[_Told], now: datetime) -> None:
    Desired.objects.bulk_create(
        [desired for _, _, desired in told],
        update_conflicts=True,
        unique_fields=["device", "part"],
        update_fields=["epoch", "revision", "body", "digest", "command", "at"],
    )
    ordered = [command.pk for command, _, _ in told]
    Command.objects.filter(pk__in=ordered, state=State.QUEUED).update(state=State.ORDERED, ordered_at=now)


def _orders(keys: SignerKeys, told: Sequence[_Told], now: datetime) -> dict[str, str]:
    """Sign an order for each device; gives the orders' ids by device."""
    opened = {project: keys.grant(project) for project in {device.project_id for _, device, _ in told}}
    orders: list[Order] = []
    for _, device, desired in told:
        order = Order(id=new_order_id(), device=device, part="command", nonce=device.nonce, asked_at=now)
        seal_with(opened[device.project_id], order, device, desired, now)
        orders.append(order)
    Order.objects.bulk_create(orders)
    return {order.device_id: order.pk for order in orders}


def _write_down(told: Sequence[_Told], orders: Mapping[str, str]) -> None:
    note_each("command.ordered", (
        (device.project_id, device.pk, {
            **said_of(command), "revision": desired.revision, "epoch": desired.epoch, "digest": desired.digest,
            "order": orders[device.pk],
        })
        for command, device, desired in told
    ))  # fmt: skip


def _locked(ids: Iterable[str]) -> dict[str, Device]:
    """Hold devices, in one order everywhere."""
    devices = Device.objects.select_for_update(no_key=True, of=("self",)).select_related("project", "relay")
    return {one.pk: one for one in devices.filter(pk__in=list(ids)).order_by("pk")}


def _parts(ids: Iterable[str]) -> list[tuple[str, ...]]:
    every = list(ids)
    return [tuple(every[start : start + AT_ONCE]) for start in range(0, len(every), AT_ONCE)]
