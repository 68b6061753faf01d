"""A command for several devices stands in each one's own history, signed, and that costs no statement for each of them."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.history.export import lines_of
from doorward_console.history.models import Pending, Record
from doorward_console.history.own import chain_pending
from doorward_console.history.verify import verify
from doorward_console.maintenance.commands.asking import ask_commands, stop
from doorward_console.maintenance.models import Command
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User

from tests.console.commanding import ALL, HELLO, can_all, done, signer_at_work, who_of
from tests.console.conftest import House
from tests.console.test_inbox import keys_of

pytestmark = pytest.mark.feature("I11")
WISH = replace(HELLO, reason="ticket 4711")


def presses(house: House, count: int) -> list[Device]:
    """Add devices that are there and can do everything."""
    heard: dict[str, Any] = {
        "state": "joined", "joined_at": timezone.now(), "seen_at": timezone.now(), "presence": "connected",
        "verbs": ALL, "nonce": "n" * 22, "runner_nonce": "r" * 22,
    }  # fmt: skip
    known = Device.objects.filter(project=house.project).count()
    return [
        Device.objects.create(project=house.project, name=f"press {known + n}", **heard) for n in range(1, count + 1)
    ]


def told_of(device: Device, verb: str) -> list[dict[str, Any]]:
    return list(Pending.objects.filter(device=device.pk, verb=verb).order_by("pk").values_list("data", flat=True))


def test_several_when_asked_then_each_devices_signed_history_says_who_asked_it_for_what_and_why(house: House) -> None:
    """Nobody has to look for a line about all of them: the device's own names the person, the wish and the reason."""
    keys, devices = keys_of(house), presses(house, 3)
    batch = ask_commands(house.project, devices, WISH, who_of(house))
    commands = {one.device_id: one.pk for one in Command.objects.all()}
    assert len(commands) == 3
    for device in devices:
        assert told_of(device, "command.asked") == [
            {
                "by": house.owner.email, "from": "203.0.113.7", "command": commands[device.pk], "batch": batch.pk,
                "verb": "message", "reason": "ticket 4711", "arguments": {"text": "hello"},
            }
        ]  # fmt: skip
    chain_pending(keys)
    assert set(Record.objects.filter(verb="command.asked").values_list("device", flat=True)) == set(commands)
    assert verify(list(lines_of(house.project.pk))).holds


def test_several_when_stopped_then_the_history_of_each_that_had_not_begun_says_by_whom(house: House) -> None:
    """Who took it back stands where who asked stands; what had ended before is not said to be cancelled."""
    can_all(house)
    other = User.objects.create_user("other@example.com")
    Member.objects.create(project=house.project, user=other, role="admin")
    waiting = presses(house, 2)
    batch = ask_commands(house.project, [house.device, *waiting], WISH, who_of(house))
    signer_at_work(house)
    done(house, Command.objects.get(device=house.device))
    assert stop(batch, Who(other, "203.0.113.9")) == 2
    for device in waiting:
        (said,) = told_of(device, "command.cancelled")
        assert (said["by"], said["from"], said["batch"]) == ("other@example.com", "203.0.113.9", batch.pk)
    assert told_of(house.device, "command.cancelled") == []
    assert stop(batch, who_of(house)) == 0
    assert Pending.objects.filter(verb="command.cancelled").count() == 2


def test_several_when_a_hundred_more_are_asked_and_stopped_then_a_few_statements_write_it_down(house: House) -> None:
    """A thousand devices' histories are written with few statements: else one call would take a minute."""

    def statements(count: int) -> tuple[int, int]:
        devices = presses(house, count)
        with CaptureQueriesContext(connection) as asking:
            batch = ask_commands(house.project, devices, WISH, who_of(house))
        with CaptureQueriesContext(connection) as stopping:
            assert stop(batch, who_of(house)) == count
        return len(asking), len(stopping)

    few, many = statements(10), statements(110)
    assert all(more - less < 10 for less, more in zip(few, many, strict=True))  # SQLite takes so many values in one
