"""What people ask of devices, one or many, and how they take it back. Called by pages and API.

Each call checks the right, writes down who asked, from where and why, and leaves the deciding to the signer. A command that
waits can be cancelled for sure; one that was told already is cancelled as far as that goes: nothing more is told, and if the
device had begun by then, it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils import timezone
from doorward_protocol.targets import TEST

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note, note_each
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.commands.cancelling import CANCELLED, cancel_each, end_waiting
from doorward_console.maintenance.commands.deciding import can, fault_of, lacking
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.models import Batch, Command
from doorward_console.people.members import Who
from doorward_console.people.membership import is_entitled
from doorward_console.people.models import Project
from doorward_console.people.rights import COMMANDS

USUAL_EXPIRY_S: Final = 86_400
"""A day: a device that is off for the night still does it."""
LONGEST_EXPIRY_S: Final = 604_800
_AT_ONCE: Final = 500
"""Rows in one statement: SQLite takes 32,766 values in one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        confirm: the name that was typed, for what cannot be taken back.
        mark: what the asker calls this wish: sent again, it is the same one. Empty where there is none.
    """

    verb: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    expires_s: int = USUAL_EXPIRY_S
    confirm: str = ""
    mark: str = ""


def ask_command(device: Device, wish: Wish, who: Who) -> Command:
    """Ask one device for one command; it waits for the device as long as the wish says.

    A wish whose mark the same person has used for this device before gives the command that there is, and nothing is asked.

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotAsked: ``command.unknown``, ``.too-large``, ``.not-confirmed``; ``signer.blocked``, ``.not-joined``; ``hook.missing`` or ``command.agent-too-old``; ``forward.unknown``; ``command.asked-otherwise`` where the mark was another wish's.
    """
    _check(wish, who, device.project, device.name)
    if (before := _asked_before(device, wish, who)) is not None:
        return before
    if (code := _missing(device, wish)) is not None:
        raise NotAsked(code)
    command = _row(device, wish, who, timezone.now(), None)
    try:
        with transaction.atomic():
            command.save(force_insert=True)
            _write_down([command], who)
            ring("signer", "web")
    except IntegrityError:  # the same wish at the same moment: the database has decided which of them is the first
        if (before := _asked_before(device, wish, who)) is None:
            raise
        return before
    return command


def _asked_before(device: Device, wish: Wish, who: Who) -> Command | None:
    """Find the command that a wish with this mark has become; refuses a wish that only has another's mark."""
    if not wish.mark:
        return None
    same = Command.objects.filter(device=device, by_name=who.user.email, mark=wish.mark)
    command: Command | None = same.first()
    if command is not None and not _is_same(command, wish):
        raise NotAsked("command.asked-otherwise")
    return command


def ask_commands(project: Project, devices: Sequence[Device], wish: Wish, who: Who, *, are_named: bool = True) -> Batch:
    """Ask several devices of a project for the same; each is decided by itself. Confirmed by the project's name.

    A wish whose mark the same person has used before gives the batch that there is, and nothing is asked. ``are_named``: it is the
    same wish only for the same devices; those that a filter found may be others a moment later.

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotAsked: ``command.unknown``, ``.too-large``, ``.not-confirmed``; ``.asked-otherwise`` where the mark was another wish's.
    """
    _check(wish, who, project, project.name)
    now = timezone.now()
    with transaction.atomic():
        batch, is_new = _batch(project, wish, who, now)
        if not is_new:
            _check_same(batch, wish, {one.pk for one in devices} if are_named else None)
            return batch
        commands = [_row(one, wish, who, now, batch) for one in devices]
        Command.objects.bulk_create(commands, _AT_ONCE)
        said = dict(who.named(), batch=batch.pk, verb=wish.verb, reason=batch.reason, arguments=batch.arguments)
        note(project, "commands.asked", data=said | {"count": len(devices)})
        _write_down(commands, who)
        ring("signer", "web")
    return batch


def _write_down(commands: Sequence[Command], who: Who) -> None:
    """Let each device's own history say who asked it for what, and why; also where several were asked at once."""
    note_each("command.asked", (
        (one.project_id, one.device_id, {
            **said_of(one), **who.named(), "reason": one.reason, "arguments": one.arguments,
        })
        for one in commands
    ))  # fmt: skip


def _batch(project: Project, wish: Wish, who: Who, now: datetime) -> tuple[Batch, bool]:
    """Give the batch of this wish, and whether it is new; two requests at once make one (the database's constraint)."""
    values = {
        "verb": wish.verb,
        "arguments": dict(wish.arguments),
        "reason": _reason(wish),
        "at": now,
        "expires_at": now + timedelta(seconds=wish.expires_s),
    }
    if not wish.mark:
        return Batch.objects.create(project=project, by_name=who.user.email, **values), True
    found: tuple[Batch, bool] = Batch.objects.get_or_create(
        project=project, by_name=who.user.email, mark=wish.mark, defaults=values
    )
    return found


def _check_same(batch: Batch, wish: Wish, devices: set[str] | None) -> None:
    """Refuse a wish that only has another's mark."""
    if not _is_same(batch, wish) or devices not in (None, set(batch.commands.values_list("device_id", flat=True))):
        raise NotAsked("command.asked-otherwise")


def _is_same(asked: Batch | Command, wish: Wish) -> bool:
    return (asked.verb, asked.arguments, asked.reason) == (wish.verb, dict(wish.arguments), _reason(wish))


def _reason(wish: Wish) -> str:
    return wish.reason.strip()[:1000]


def devices_named(project: Project, ids: Sequence[str]) -> list[Device]:
    """Find those of ``ids`` that are devices of the project."""
    found: list[Device] = []
    for start in range(0, len(ids), _AT_ONCE):
        some = Device.objects.filter(project=project, pk__in=ids[start : start + _AT_ONCE], removed_at__isnull=True)
        found.extend(some.order_by("name"))
    return found


def _row(device: Device, wish: Wish, who: Who, now: datetime, batch: Batch | None) -> Command:
    return Command(
        project_id=device.project_id,
        device=device,
        batch=batch,
        verb=wish.verb,
        arguments=dict(wish.arguments),
        reason=_reason(wish),
        confirm=wish.confirm[:100],
        by=who.user,
        by_name=who.user.email,
        at=now,
        expires_at=now + timedelta(seconds=wish.expires_s),
        mark=(wish.mark or None) if batch is None else None,  # one of several goes by its batch's
    )


def _check(wish: Wish, who: Who, project: Project, name: str) -> None:
    """Say at once what the signer would say a moment later."""
    if wish.verb in COMMANDS and not is_entitled(who.user, project, COMMANDS[wish.verb]):
        raise NotEntitled("signer.not-entitled")
    if (fault := fault_of(wish.verb, wish.arguments, wish.confirm, name)) is not None:
        raise NotAsked(fault)


def _missing(device: Device, wish: Wish) -> str | None:
    if device.state == Device.State.BLOCKED:
        return "signer.blocked"
    if device.state != Device.State.JOINED:
        return "signer.not-joined"
    if device.has_said_verbs and not can(device.verbs, wish.verb):
        return lacking(wish.verb)
    is_strange = wish.verb == TEST and str(wish.arguments.get("name")) not in (device.offered or {})
    return "forward.unknown" if is_strange else None


def cancel(command: Command, who: Who) -> Command:
    """Take a command back that has not begun; whoever may ask for it may cancel it.

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotAsked: ``command.not-waiting``.
    """
    if not is_entitled(who.user, command.project, COMMANDS[command.verb]):
        raise NotEntitled("signer.not-entitled")
    with transaction.atomic():
        if not end_waiting(Command.objects.filter(pk=command.pk), CANCELLED, who.user.email):
            raise NotAsked("command.not-waiting")
        said = dict(who.named(), command=command.pk, verb=command.verb)
        note(command.project, "command.cancelled", device=command.device_id, data=said)
        ring("signer", "worker", "web")
    command.refresh_from_db()
    return command


def stop(batch: Batch, who: Who) -> int:
    """Cancel what of a batch has not begun; gives how many that were. Safe to repeat.

    Raises:
        NotEntitled: ``signer.not-entitled``.
    """
    if not is_entitled(who.user, batch.project, COMMANDS[batch.verb]):
        raise NotEntitled("signer.not-entitled")
    with transaction.atomic():
        count = cancel_each(Command.objects.filter(batch=batch), CANCELLED, who.user.email, who.named())
        if batch.stopped_at is None:
            batch.stopped_at, batch.stopped_by_name = timezone.now(), who.user.email
            batch.save(update_fields=["stopped_at", "stopped_by_name"])
        said = dict(who.named(), batch=batch.pk, verb=batch.verb, count=count)
        note(batch.project, "commands.stopped", data=said)
        ring("signer", "worker", "web")
    return count
