"""The one clock that decides on a device: the kernel's boot-time clock, as agent and runner read it."""

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.parts.installed import require
from tests.parts.processes import run

READ: Final = """
from doorward_agent.edges.system import SystemClock
from doorward_runner.edges import clock
print(SystemClock().boottime_ms() / 1000, clock.now().uptime_s)
"""
MONTH_S: Final = 30 * 86_400
"""As long as a device may sleep."""


def both(*before: str | Path) -> list[float]:
    """Read both clocks in a process of their own; in seconds."""
    ran = run([*before, sys.executable, "-c", READ])
    assert ran.returncode == 0, ran.stderr.decode()
    return [float(word) for word in ran.stdout.split()]


@pytest.mark.feature("B9")
@pytest.mark.real("root")
def test_clocks_when_the_machine_slept_for_a_month_then_both_have_moved_and_no_calendar_counts() -> None:
    """They count since the boot, sleep and all, whatever year the wall clock says: agent and runner agree on every end."""
    began = both()
    moved = both(require("unshare"), "--time", "--boottime", str(MONTH_S), "--fork")
    now_s = float(Path("/proc/uptime").read_text().split()[0])
    for before, after in zip(began, moved, strict=True):
        assert now_s - 30 < before <= now_s
        assert MONTH_S < after - before + 1 < MONTH_S + 60
    assert abs(moved[0] - moved[1]) < 1
