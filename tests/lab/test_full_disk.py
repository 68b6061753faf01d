"""A console whose disk is full and stays full: what is open can be shut all the same."""

from pathlib import Path

import pytest

from tests.house.house import Device, House
from tests.lab.faults import fill_disk, on_a_small_disk
from tests.lab.invariants import all_hold
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(120), pytest.mark.feature("E9", "B15")]


def test_off_when_the_consoles_disk_is_full_then_the_door_is_shut_all_the_same(lab: House, device: Device) -> None:
    """Web, worker and signer write what shutting needs into the room that was kept back for it."""
    lab.console.open_door(device.id)
    lab.console.wait_for_door(device.id, "open")
    with on_a_small_disk(lab, "console") as (machine, folder):
        reserve = Path(f"{machine.inside(folder)}/console.sqlite3.reserve")
        wait_until(lambda: reserve.exists() and reserve.stat().st_size > 262_144, 40, "the reserve to be taken")
        fill_disk(machine, folder)
        lab.console.shut_door(device.id)
        lab.console.wait_for_door(device.id, "shut", 20)
        machine.must("/bin/rm", f"{folder}/filler")
    lab.restore()
    all_hold(lab, 40)
