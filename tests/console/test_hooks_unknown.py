"""A command for a device that has joined just now waits until the device has said what it can do, and is not refused for it."""

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands.asking import ask_commands
from doorward_console.maintenance.commands.hearing import apply_time
from doorward_console.maintenance.models import Order
from doorward_console.worker import hearing
from doorward_protocol.commands import AGENT_VERBS
from doorward_protocol.ids import DeviceId

from tests.console.commanding import HELLO, asked, fresh, signer_at_work, who_of
from tests.console.conftest import House
from tests.console.visiting import address, ask, client_of
from tests.worlds.scripted_device import ScriptedDevice

pytestmark = pytest.mark.feature("I11")


@pytest.fixture
def device(house: House) -> ScriptedDevice:
    """The house's device, just after it has joined: nothing was heard of it."""
    return ScriptedDevice(DeviceId(house.device.pk))


def says(house: House, device: ScriptedDevice, *hooks: str, **more: Any) -> None:
    """Let the device's agent say what it can do."""
    device.count += 1
    hearing.hear_asks({device.device: [device.ask_bytes(verbs=(*hooks, *AGENT_VERBS), **more)]}, timezone.now())
    house.device.refresh_from_db()


def test_command_when_the_device_has_just_joined_then_it_waits_until_the_hooks_are_known_and_is_told(
    house: House, device: ScriptedDevice
) -> None:
    """The agent's first word is sent before its runner has answered: nothing is refused for that, one device or several."""
    says(house, device, knows_hooks=False)
    command = asked(house)
    batch = ask_commands(house.project, [house.device], HELLO, who_of(house))
    signer_at_work(house)
    assert (fresh(command).state, batch.commands.get().state, Order.objects.count()) == ("queued", "queued", 0)
    says(house, device, "message")
    signer_at_work(house)
    assert (fresh(command).state, Order.objects.count()) == ("ordered", 1)


def test_command_when_the_hooks_are_known_and_it_is_not_among_them_then_refused(
    house: House, device: ScriptedDevice
) -> None:
    """From the device's word on, what it lacks it lacks."""
    says(house, device, knows_hooks=False)
    says(house, device)
    with pytest.raises(NotAsked) as refused:
        asked(house)
    assert refused.value.code == "hook.missing"


def test_command_when_the_agent_has_just_been_started_again_then_what_it_could_counts(
    house: House, device: ScriptedDevice
) -> None:
    """For the moment until its runner has answered anew, a device does not lose its hooks, and gains none."""
    says(house, device, "message")
    says(house, device, knows_hooks=False)
    command = asked(house)
    signer_at_work(house)
    assert fresh(command).state == "ordered"
    with pytest.raises(NotAsked):
        asked(house, verb="reboot", arguments={})


@pytest.mark.parametrize(
    ("presence", "code"), [("connected", "runner.unavailable"), ("away", "command.expired")], ids=["there", "away"]
)
def test_command_when_the_hooks_stay_unknown_until_its_end_then_it_ends_with_whose_move_it_is(
    house: House, device: ScriptedDevice, presence: str, code: str
) -> None:
    """A runner that never answers is not a missing hook; a device that was away said nothing of either."""
    says(house, device, knows_hooks=False)
    command = asked(house)
    signer_at_work(house)
    house.device.presence = presence
    house.device.save()
    apply_time(command.expires_at)
    assert (fresh(command).state, command.code) == ("expired", code)


def test_page_when_the_hooks_are_not_known_yet_then_it_says_so_and_what_waits_for_them(
    house: House, device: ScriptedDevice
) -> None:
    """Nobody is told that the device has no hooks, nor that it will refuse."""
    says(house, device, knows_hooks=False)
    asked(house)
    client = client_of(house.owner)
    page = ask(client, "GET", address("device", house)).content.decode()
    assert "is not known yet: its runner has not told the agent" in page
    assert "waits until the device has said what it can do" in page
    kwargs = {"project_id": house.project.pk, "verb": "message"}

    def choice() -> str:
        answer = ask(client, "POST", reverse("batch-choose", kwargs=kwargs), device=house.device.pk)
        return str(answer.content.decode())

    assert "1 of them has not said yet what it can do, and will be told once it has." in choice()
    assert "no hook for this" not in choice()
    says(house, device)
    page = ask(client, "GET", address("device", house)).content.decode()
    assert "is not known yet" not in page
    assert "no hook for this" in choice()
    assert "not said yet" not in choice()


def test_api_when_the_hooks_are_not_known_yet_then_the_device_says_so(house: House, device: ScriptedDevice) -> None:
    """A program knows whether the list of verbs is all."""
    client, told = client_of(house.owner), []
    for knows in (False, True):
        says(house, device, knows_hooks=knows)
        said = client.get(f"/api/v1/devices/{house.device.pk}", secure=True).json()
        told.append((said["verbs"], said["knows_hooks"]))
    assert told == [(list(AGENT_VERBS), False), (list(AGENT_VERBS), True)]
