"""How the test plays signer, worker and device for commands: with the functions that those processes call, and the device's words."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.commands.hearing import hear_records
from doorward_console.maintenance.commands.promoting import decide_commands, free_devices, tell_next, undecided_commands
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Command
from doorward_protocol.ids import DeviceId
from doorward_protocol.records import Fact, Head, Moment, Record

WELL: dict[str, Any] = {"code": None, "status": 0, "said": "", "result": None, "lasted_ms": 412}


def sign() -> None:
    """Decide about what was asked, and tell each device that is there its next command: the signer's part."""
    for ids in undecided_commands():
        decide_commands(Ceilings(), ids)
    keys = SignerKeys(wrapping_key_from_file(settings.CONFIG.signer_key))
    for ids in free_devices():
        tell_next(keys, Ceilings(), ids)


def begin(command: Command) -> None:
    """Let the device say that it has begun."""
    _hear(command, "command.begun", {})


def end(command: Command, **outcome: Any) -> None:
    """Let the device say how it went; well, where nothing else is said."""
    _hear(command, "command.done", WELL | outcome)


def back_date(command: Command, ago: timedelta) -> None:
    """Let all that has happened to a command so far have happened earlier."""
    command.refresh_from_db()
    for name in ("at", "expires_at", "ordered_at", "begun_at", "ended_at"):
        moment = getattr(command, name)
        setattr(command, name, None if moment is None else moment - ago)
    command.save()


def _hear(command: Command, verb: str, data: dict[str, Any]) -> None:
    author, device = f"device:{command.device_id}", DeviceId(command.device_id)
    fact = Fact(verb, None, device, {"command": command.pk, "verb": command.verb, **data})
    hear_records(author, [Record(author, Head(0, 1, None), None, Moment(1), fact, {})], timezone.now())
