"""Settings read from devices: once a boot by itself, again after a trial, when somebody asks; kept as the device said it (I10, I15)."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.maintenance.commands.asking import Wish
from doorward_console.maintenance.commands.wishes import BY_BOOT, BY_TRIALS_END, read_settings
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.models import Command
from doorward_protocol.commands import READ_SETTINGS

from tests.console.commanding import asked, can_all, done, fresh, holds, signer_at_work
from tests.console.conftest import House
from tests.console.test_api import call, token_of

pytestmark = [pytest.mark.feature("I10", "I15"), pytest.mark.django_db]

SAID = {"values": {"hostname": "pump-7"}, "schema": {"type": "object", "properties": {"hostname": {"type": "string"}}}}


def reads(house: House) -> list[Command]:
    return list(Command.objects.filter(device=house.device, verb=READ_SETTINGS).order_by("at"))


def heard(house: House, *, later: int = 0) -> int:
    """Let the worker have heard the device's ask."""
    return read_settings([house.device.pk], timezone.now() + timedelta(seconds=later))


def answered(house: House, command: Command, result: Any = SAID, code: str | None = None) -> None:
    """Let a command go its way and come back with ``result``."""
    signer_at_work(house)
    holds(house)
    done(house, command, code, result=result)


def test_device_when_it_has_started_then_its_settings_are_read_once_in_that_boot(house: House) -> None:
    """However often it asks; and again in the next boot."""
    can_all(house, verbs=[READ_SETTINGS], boot="b1")
    assert [heard(house, later=later) for later in (0, 60, 120)] == [1, 0, 0]
    (first,) = reads(house)
    assert (first.by_name, first.by) == (BY_BOOT, None)
    answered(house, first)
    assert fresh(first).state == Command.State.DONE
    assert heard(house, later=600) == 0
    can_all(house, verbs=[READ_SETTINGS], boot="b2")
    assert heard(house, later=600) == 1


def test_device_when_its_reading_failed_then_it_is_not_asked_again_in_that_boot(house: House) -> None:
    """A hook that is broken is broken at the next ask, too."""
    can_all(house, verbs=[READ_SETTINGS], boot="b1")
    heard(house)
    answered(house, reads(house)[0], None, "hook.failed")
    assert (heard(house, later=600), read_from(house.device)) == (0, None)


@pytest.mark.parametrize(
    "more", [{"verbs": ["reboot"]}, {"verbs": None}, {"state": "blocked"}, {"twin_at": timezone.now()}]
)
def test_device_when_it_cannot_or_must_not_be_asked_then_nothing_is_read(house: House, more: dict[str, Any]) -> None:
    """No hook, an agent that knows none, a blocked device, two machines that speak as one."""
    can_all(house, **({"verbs": [READ_SETTINGS], "boot": "b1"} | more))
    assert (heard(house), reads(house)) == (0, [])


@pytest.mark.parametrize(("state", "count"), [("confirmed", 1), ("reverted", 1), ("trying", 0)])
def test_device_when_a_trial_has_ended_then_its_settings_are_read_again(house: House, state: str, count: int) -> None:
    """What it reports since then is what people compare with."""
    can_all(house, verbs=[READ_SETTINGS], boot="b1")
    heard(house)
    answered(house, reads(house)[0])
    Device.objects.update(settings_state=state, settings_at=timezone.now() + timedelta(seconds=60))
    assert heard(house, later=120) == count
    assert [one.by_name for one in reads(house)[1:]] == [BY_TRIALS_END] * count
    assert heard(house, later=240) == 0


def test_settings_when_read_then_the_api_says_what_the_device_said(house: House) -> None:
    """Values, schema and when; before the first time nothing."""
    can_all(house, verbs=[READ_SETTINGS])
    path, token = f"/devices/{house.device.pk}/settings", token_of(house.owner)
    assert call(token, "GET", path).json()["read"] is None
    answered(house, asked(house, Wish(READ_SETTINGS)))
    said = call(token, "GET", path).json()["read"]
    assert (said["values"], said["may_set"]) == (SAID["values"], SAID["schema"])
    assert said["at"]


@pytest.mark.parametrize("result", [{}, {"values": "none", "schema": ["x"]}, {"values": None}])
def test_answer_when_it_has_not_the_shape_then_it_counts_as_not_said(house: House, result: dict[str, Any]) -> None:
    """A hook that says nothing of use harms nothing."""
    can_all(house, verbs=[READ_SETTINGS])
    answered(house, asked(house, Wish(READ_SETTINGS)), result)
    read = SettingsRead.objects.get()
    assert (read.values, read.schema) == ({}, None)
