"""Clocks that are set while everything runs: libfaketime moves the time of day of one machine, and no other clock of it.

A machine's programs are started anew under it, then its time jumps, and jumps back. What counts seconds (monotonic and boot-time
clocks) is left alone, as when somebody sets the clock of a machine. It gets wrong how Python pauses, so there Python pauses in another
way. An agent under libfaketime cannot be moved back: tests/worlds moves its clock both ways.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.house.house import AGENT_USER, House
from tests.house.machine import CHECKOUT, PROGRAMS, Machine
from tests.lab.kills import kill_part
from tests.lab.middle import let_pass
from tests.parts.files import write_whole

_LIBRARY: Final = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
LACKING: Final = "" if _LIBRARY else "needs libfaketime: apt install faketime"
"""Why clocks cannot jump here; empty when they can."""
DAY_TAKES_S: Final = 240
LONGEST_S: Final = 70.0
"""Nobody waits longer than a minute, and a dial, for a device that could have been back..."""
FEWEST_DIALS: Final = 60
MOST_DIALS: Final = 60 * 4
"""... and in each hour a device that is alone is quiet."""
_TIME: Final = "run/time-of-day"
_PAUSING: Final = "run/pausing"
_PAUSES: Final = """\
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""``clock_nanosleep`` up to a moment of the monotonic clock: libfaketime counts that from its own time, and the kernel refuses it."""


def jumped(place: str, days: int, lasts_s: float = 8) -> Callable[[House], None]:
    """Let the clock of device, relay, console or broker jump by so many days, and back after a while.

    A broker's decides only on who comes anew, so the device does.
    """

    def jump(house: House) -> None:
        machine, parts = _machine(house, place)
        was = house.console.door(house.device.id)["state"]
        _under_a_clock_that_moves(house, machine, parts)
        house.console.wait_for_door(house.device.id, was, 60)
        _set(machine, f"{days:+d}d")
        if place == "broker":
            _stop(house, ("agent",))
            house.restore()
        let_pass(lasts_s)
        _set(machine, "+0")
        let_pass(2)
        machine.environment.clear()
        _stop(house, parts)

    return jump


def alone(hours: int) -> Callable[[House], None]:
    """Take the broker away for hours that are moved, not waited: the real agent dials all that time, then an agent starts as ever."""

    def be_alone(house: House) -> None:
        agent = house.device.agent
        assert agent is not None
        house.stop("broker")
        agent.kill()
        done = house.device.machine.run(
            PROGRAMS / "python", CHECKOUT / "bench" / "alone.py", str(hours), user=AGENT_USER, limit_s=DAY_TAKES_S
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        said = json.loads(done.stdout)
        assert said["longest_s"] < LONGEST_S, said
        assert FEWEST_DIALS * hours < said["dials"] < MOST_DIALS * hours, said

    return be_alone


def _under_a_clock_that_moves(house: House, machine: Machine, parts: tuple[str, ...]) -> None:
    _set(machine, "+0")
    folder = machine.folder / _PAUSING
    folder.mkdir(mode=0o755, exist_ok=True)
    folder.chmod(0o755)
    write_whole(folder / "sitecustomize.py", _PAUSES, 0o644)
    machine.environment |= {
        "PYTHONPATH": f"/{_PAUSING}",
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": f"/{_TIME}",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    _stop(house, parts)
    house.restore()


def _set(machine: Machine, offset: str) -> None:
    path = machine.folder / _TIME
    path.write_text(offset + "\n")
    path.chmod(0o644)


def _stop(house: House, parts: tuple[str, ...]) -> None:
    for part in parts:
        kill_part(house, part)


def _machine(house: House, place: str) -> tuple[Machine, tuple[str, ...]]:
    return {
        "device": (house.device.machine, ("agent",)),
        "relay": (house.relay_machine, ("relay",)),
        "console": (house.console_machine, ("web", "worker", "signer")),
        "broker": (house.console_machine, ("broker",)),
    }[place]
