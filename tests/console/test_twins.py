"""Two machines with one device's identity: the console tells people, and nothing but that follows from what is not signed."""

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from doorward_console.fleet.asks import TWIN, TWIN_SHOWN
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.worker import hearing
from doorward_protocol.ids import DeviceId

from tests.console.conftest import House
from tests.worlds.scripted_device import ScriptedDevice

pytestmark = pytest.mark.feature("E9")
SAYS = "Two machines speak as this device"


def hear(device: ScriptedDevice, now: datetime | None = None) -> None:
    hearing.hear_asks({device.device: [device.ask_bytes()]}, now or timezone.now())


def alarms() -> list[str]:
    return [one.data["code"] for one in Pending.objects.filter(verb="console.alarm")]


def page_of(house: House) -> str:
    visitor = Client()
    visitor.force_login(house.owner)
    return visitor.get(f"/projects/{house.project.pk}/devices/{house.device.pk}/").content.decode()


def test_device_when_it_boots_again_and_again_then_nobody_is_alarmed(house: House) -> None:
    """Each boot has an id of its own, and asks of an earlier one that come late are no second machine."""
    boots = [ScriptedDevice(DeviceId(house.device.pk), boot=letter * 32) for letter in "abcd"]
    for boot in boots:
        hear(boot)
        hear(boot)
    late = ScriptedDevice(DeviceId(house.device.pk), boot="c" * 32)
    hear(late)
    hear(late)
    assert alarms() == []
    assert SAYS not in page_of(house)
    assert Device.objects.get(pk=house.device.pk).boot == "d" * 32


def test_device_when_two_machines_speak_in_turn_then_one_alarm_and_the_page_say_so_for_an_hour(house: House) -> None:
    """A boot that gave way to another and goes on counting is a second machine."""
    here, there = (ScriptedDevice(DeviceId(house.device.pk), boot=letter * 32) for letter in "ab")
    now = timezone.now()
    for n in range(6):
        hear(here, now + timedelta(seconds=n))
        hear(there, now + timedelta(seconds=n))
    assert alarms() == [TWIN]
    assert SAYS in page_of(house)
    Device.objects.update(twin_at=now - TWIN_SHOWN)
    assert SAYS not in page_of(house)
    hear(here)
    assert alarms() == [TWIN, TWIN]
