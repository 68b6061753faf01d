"""How commands that wait are ended before their devices have begun; within the caller's transaction."""

from collections.abc import Mapping
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from doorward_console.fleet.models import Device
from doorward_console.history.writing import note_each
from doorward_console.maintenance.commands.holding import hold
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.models import Command

CANCELLED: Final = "command.cancelled"


def end_waiting(commands: "QuerySet[Command]", code: str, by: str) -> int:
    """End those that wait; an order of one that is signed and not sent yet is dropped by the worker, which looks once more."""
    waiting = commands.filter(state__in=Command.WAITING)
    list(hold(waiting).values_list("pk"))
    count: int = waiting.update(state=Command.State.CANCELLED, code=code, ended_at=timezone.now(), ended_by_name=by)
    return count


def cancel_all(device: Device, code: str, by: str) -> int:
    """End whatever waits for a device that is blocked or removed."""
    return cancel_each(Command.objects.filter(device=device), code, by, {"by": by})


def cancel_each(commands: "QuerySet[Command]", code: str, by: str, named: Mapping[str, str]) -> int:
    """End those that wait, and write it down for the device of each; ``named`` is what the history says of whoever did it."""
    gone = list(hold(commands.filter(state__in=Command.WAITING)))
    count = end_waiting(Command.objects.filter(pk__in=[one.pk for one in gone]), code, by)
    lines = ((one.project_id, one.device_id, {**said_of(one), **named, "code": code}) for one in gone)
    note_each("command.cancelled", lines)
    return count
