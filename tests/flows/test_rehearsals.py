"""Rehearsals through the whole house: asked for in the console and at the device, through the managed relay, beside an open door."""

from typing import Any

import pytest
from doorward_protocol.rehearsal import STEPS

from tests.flows.test_commands import ask, wait_for
from tests.house.house import Device, House
from tests.house.machine import PROGRAMS

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("B10")]


def went_well(found: dict[str, Any], relay: str) -> int:
    """Check a rehearsal's result step by step; gives in how many ms a door would open."""
    result = found["result"]
    assert [(one["step"], one["code"]) for one in result["steps"]] == [(name, None) for name in STEPS]
    assert (result["relay"], result["way"], found["why"]) == (relay, "ssh", None)
    return int(result["opens_in_ms"])


def test_rehearsal_when_asked_for_then_it_says_how_fast_a_door_would_open_and_leaves_nothing(
    house: House, device: Device
) -> None:
    """Console, signer, relay, device and back; the grant was put before and is ended after, and no door was ever open."""
    found = wait_for(house, device, ask(house, device, "rehearse"), "done")
    opens_in_ms = went_well(found, house.relay_id)
    said = house.console.get(f"/devices/{device.id}/rehearsal")
    assert (said["opens"], said["opens_in_ms"], said["why"]) == (True, opens_in_ms, None)
    house.console.wait_for_history(("grant.accepted", "command.begun", "command.done", "grant.ended"), device.id)
    house.console.wait_for_door(device.id, "shut")
    assert not house.listens(house.ports.door)
    left = device.machine.must("/bin/ls", "/run/doorward-agent/rehearsal").split()
    assert "control" not in left
    assert house.verify_history(house.export_history())["holds"] is True


def test_rehearsal_when_the_door_is_open_then_both_go_on(house: House, device: Device) -> None:
    """The engineer's session is not touched, and the rehearsal goes as it would alone."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    went_well(wait_for(house, device, ask(house, device, "rehearse"), "done"), house.relay_id)
    assert house.log_in(device, "true")[0] == 0
    house.console.wait_for_door(device.id, "open")


def test_rehearsal_when_somebody_at_the_device_asks_then_each_step_is_shown_there(house: House, device: Device) -> None:
    """Root at the device wishes, the console grants it, and the answer stands in the history as the device's own asking."""
    done = device.machine.run(PROGRAMS / "doorward-agent", "rehearse")
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert [line.split()[0] for line in said.splitlines()] == [*STEPS, "A"]
    assert "A door would open in 0." in said
    newest = house.console.get(f"/devices/{device.id}/commands")[0]
    assert (newest["verb"], newest["by"]) == ("rehearse", "the device itself")
    wait_for(house, device, newest["id"], "done")  # the console hears the end when the device has said it here
    assert device.machine.run(PROGRAMS / "doorward-agent", "rehearse").returncode == 0, "the next one waits its turn"


def test_rehearsal_when_the_relay_is_away_then_that_is_said_before_anybody_needs_it(
    house: House, device: Device
) -> None:
    """Its daemon cannot be told: a door would not open either, and the device is not even asked."""
    house.stop("relay")
    found = wait_for(house, device, ask(house, device, "rehearse"), "failed", 60)
    assert found["why"]["code"] == "relay.unreachable"
    assert found["result"] is None
