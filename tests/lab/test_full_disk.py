"""A console whose disk is full and stays full: nothing can be opened, and what is open can be shut."""

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.house.api import Declined
from tests.house.house import Device, House
from tests.lab.faults import fill_disk, on_a_small_disk
from tests.lab.invariants import all_hold
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(120), pytest.mark.feature("E9", "B15")]

_CUT_LOG: Final = """\
import sqlite3, sys
busy, *_ = sqlite3.connect(sys.argv[1], timeout=10).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
sys.exit(busy)
"""
"""SQLite's log keeps its length, so a disk that is filled beside it has room in it."""


def test_off_when_the_consoles_disk_is_full_then_the_door_is_shut_all_the_same(lab: House, device: Device) -> None:
    """Web, worker and signer write what shutting needs into the room that was kept back for it."""
    lab.console.open_door(device.id)
    lab.console.wait_for_door(device.id, "open")
    with on_a_small_disk(lab, "console") as (machine, folder):
        reserve = Path(f"{machine.inside(folder)}/console.sqlite3.reserve")
        wait_until(lambda: reserve.exists() and reserve.stat().st_size > 262_144, 40, "the reserve to be taken")
        machine.must(sys.executable, "-c", _CUT_LOG, f"{folder}/console.sqlite3")
        fill_disk(machine, folder)
        with pytest.raises(Declined, match="no-database"):
            lab.console.open_door(device.id)
        lab.console.shut_door(device.id)
        lab.console.wait_for_door(device.id, "shut", 20)
        machine.must("/bin/rm", f"{folder}/filler")
    lab.restore()
    all_hold(lab, 40)
