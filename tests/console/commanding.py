"""How tests ask for commands and play the processes that carry them."""

from dataclasses import replace
from typing import Any

from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.keys.making import ensure_signer_keys
from doorward_console.maintenance.commands.asking import Wish, ask_command
from doorward_console.maintenance.commands.hearing import hear_records, hear_taken
from doorward_console.maintenance.models import Command, Desired
from doorward_console.maintenance.signing import Signer
from doorward_console.people.members import Who
from doorward_console.signer import look
from doorward_protocol.ids import DeviceId
from doorward_protocol.records import Fact, Head, Moment, Record

from tests.console.conftest import House
from tests.console.test_signing import new_signer

ALL = ["reboot", "shutdown", "suspend", "factory-reset", "message", "system-info", "health"]
HELLO = Wish("message", {"text": "hello"})


def can_all(house: House, **more: Any) -> Device:
    """Let the house's device have been heard, with a hook for everything."""
    values = {"verbs": ALL, "seen_at": timezone.now(), "presence": "connected"} | more
    Device.objects.filter(pk=house.device.pk).update(**values)
    house.device.refresh_from_db()
    found: Device = house.device
    return found


def who_of(house: House) -> Who:
    return Who(house.owner, "203.0.113.7")


def asked(house: House, wish: Wish = HELLO, **more: Any) -> Command:
    """Ask as the owner."""
    return ask_command(house.device, replace(wish, **more), who_of(house))


def signer_at_work(house: House) -> Signer:
    """Let the signer look once; gives it."""
    signer = new_signer()
    ensure_signer_keys(house.project, signer.keys.wrapping)
    look(signer)
    return signer


def fresh(command: Command) -> Command:
    command.refresh_from_db()
    return command


def said(house: House, name: str, /, **data: Any) -> Record:
    """Give a record of the house's device as it comes out of its verified chain."""
    fact = Fact(name, None, DeviceId(house.device.pk), data)
    return Record(f"device:{house.device.pk}", Head(0, 1, None), None, Moment(1), fact, {})


def hear(house: House, name: str, /, **data: Any) -> int:
    return hear_records(f"device:{house.device.pk}", [said(house, name, **data)], timezone.now())


def holds(house: House, *, needs_order: bool = False) -> int:
    """Let the device's ask say that it holds what it was told last."""
    told = Desired.objects.get(device=house.device, part="command")
    Device.objects.filter(pk=house.device.pk).update(
        command_epoch=told.epoch, command_revision=told.revision, command_digest=told.digest,
        command_needs_order=needs_order,
    )  # fmt: skip
    return hear_taken([house.device.pk], timezone.now())


def done(house: House, command: Command, code: str | None = None, **more: Any) -> int:
    outcome = {"code": code, "status": 0 if code is None else 3, "said": "", "result": None, "lasted_ms": 12} | more
    return hear(house, "command.done", command=command.pk, verb=command.verb, **outcome)
