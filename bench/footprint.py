"""What doorward costs a device that waits, one whose door is open, and one that is left alone for long.

The device stands on a machine (pid namespace) of its own, so "everything of ours" is everything that runs there. Memory is PSS in MiB. The
console on the same computer runs the same Python, which makes the agent's share of Python's own code smaller than where it is the only one:
``idle_rss_mib``, an anchor, counts that code in full, and is the most that it can cost.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import memory
from bench.idle_peers import autossh_mib, node_mqtt_mib
from bench.report import MOST, Bench, Goal, Report, say
from bench.standing import NEEDED, standing_house
from tests.house.house import AGENT_USER, Device, House
from tests.house.machine import PROGRAMS

GOALS: Final = {
    "idle_pss_mib": Goal(MOST, 20, "agent, before its first order"),
    "ready_pss_mib": Goal(MOST, 28, "agent, after its first session"),
    "open_extra_mib": Goal(MOST, 12, "all that runs because the door is open"),
    "after_extra_mib": Goal(MOST, 1, "agent, after one more session"),
    "wakeups_per_s": Goal(MOST, 1.5, "context switches of all threads, idle"),
    "growth_mib": Goal(MOST, 1, "agent, over 200 sessions"),
    "alone_growth_mib": Goal(MOST, 1, "agent, over a day without broker"),
}
CYCLES, QUICK_CYCLES, WARM_CYCLES = 200, 20, 10
IDLE_S, QUICK_IDLE_S = 60.0, 20.0
HOURS, QUICK_HOURS = 24.0, 6.0
ALONE_LIMIT_S: Final = 1800.0
SETTLE_S: Final = 1.5
LOOK_S: Final = 2.0


def measure(report: Report, is_quick: bool) -> None:  # noqa: FBT001  one signature for every bench
    with standing_house() as house:
        device = house.device
        _idle(report, device, QUICK_IDLE_S if is_quick else IDLE_S)
        _anchors(report, house)
        _one_session(report, house)
        _many_sessions(report, house, QUICK_CYCLES if is_quick else CYCLES)
        _alone(report, house, QUICK_HOURS if is_quick else HOURS)


def agent_mib(device: Device) -> float:
    """Read the agent's memory once it is steady."""
    assert device.agent is not None
    return steady(lambda pid=device.agent.pid: memory.pss_mib(pid))  # type: ignore[misc]  # a default binds the pid


def own_mib(device: Device) -> float:
    """Read what the agent shares with nobody, once it is steady."""
    assert device.agent is not None
    return steady(lambda pid=device.agent.pid: memory.private_mib(pid))  # type: ignore[misc]  # as above


def steady(read: Callable[[], float]) -> float:
    """Give the median of what is read in a while, after a while to settle in: helpers come and go, others share our pages."""
    time.sleep(SETTLE_S)
    ends_at, seen = time.monotonic() + LOOK_S, [read()]
    while time.monotonic() < ends_at:
        time.sleep(0.1)
        seen.append(read())
    return statistics.median(seen)


def _idle(report: Report, device: Device, seconds: float) -> None:
    assert device.agent is not None
    pid = device.agent.pid
    report.found("idle_pss_mib", agent_mib(device))
    report.anchors["idle_rss_mib"] = memory.rss_mib(pid)
    say(f"counting wake-ups for {seconds:g} s")
    before, started = memory.switches(pid), time.monotonic()
    time.sleep(seconds)  # the measure itself: nothing is waited for
    report.found("wakeups_per_s", (memory.switches(pid) - before) / (time.monotonic() - started))


def _one_session(report: Report, house: House) -> None:
    """Go through one session to be ready, and look at a second one."""
    device = house.device
    _cycles(house, 1)
    ready = agent_mib(device)
    report.found("ready_pss_mib", ready)
    with opened(house):
        everything = steady(lambda: memory.total_pss_mib(ours(device)))
        for pid in ours(device):
            report.anchors[f"while open: {memory.name_of(pid)}"] = memory.pss_mib(pid)
    report.found("open_extra_mib", everything - ready)
    report.found("after_extra_mib", agent_mib(device) - ready)


def ours(device: Device) -> list[int]:
    """List what runs on the device's machine but for its first process, which stands in for an init."""
    return [pid for pid in memory.pids_beside(device.machine.init_pid) if pid != device.machine.init_pid]


@contextmanager
def opened(house: House) -> Iterator[None]:
    device = house.device
    house.console.open_door(device.id, reason="bench")
    house.console.wait_for_door(device.id, "open")
    yield
    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")


def _many_sessions(report: Report, house: House, cycles: int) -> None:
    """Look at what 200 sessions leave behind, or a tenth of them, scaled; a few before are for warmth.

    It is what the agent has for itself: its share of what others use, too, moves by a MiB when one of them ends.
    """
    _cycles(house, WARM_CYCLES)
    before = own_mib(house.device)
    _cycles(house, cycles)
    grown = own_mib(house.device) - before
    report.found("growth_mib", grown * CYCLES / cycles)
    is_scaled = ", scaled" if cycles != CYCLES else ""
    report.notes.append(f"growth_mib: {grown:.3f} MiB of its own over {cycles} sessions after {WARM_CYCLES}{is_scaled}")


def _cycles(house: House, cycles: int) -> None:
    for n in range(cycles):
        if n % 10 == 0:
            say(f"session {n + 1} of {cycles}")
        with opened(house):
            pass


def _alone(report: Report, house: House, hours: float) -> None:
    say(f"leaving the agent alone for {hours:g} simulated hours")
    device = house.device
    assert device.agent is not None
    device.agent.kill()
    house.stop("broker")
    program = PROGRAMS / "python", Path(__file__).with_name("alone.py"), str(hours)
    done = device.machine.run(*program, user=AGENT_USER, limit_s=ALONE_LIMIT_S)
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    grown = said["last_mib"] - said["first_mib"]
    report.found("alone_growth_mib", grown * HOURS / hours)
    report.notes.append(
        f"alone_growth_mib: {said['dials']} refused dials in {hours:g} simulated hours, {grown:.3f} MiB"
        + (", scaled to a day" if hours != HOURS else "")
    )


def _anchors(report: Report, house: House) -> None:
    """Measure what else one might run, beside us: a bare Python, autossh with its ssh, a Node MQTT client."""
    bare = house.programs.start(sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)", name="bare-python")
    report.anchors["python3_bare_pss_mib"] = steady(lambda: memory.pss_mib(bare.pid))
    bare.end()
    peers = {"autossh": autossh_mib, "node_mqtt": node_mqtt_mib}
    for name, measured in peers.items():
        found = measured(house.programs, house.folder / name, steady)
        if found is None:
            report.notes.append(f"anchor {name}: not installed here")
        else:
            report.anchors[f"{name}_pss_mib"] = found


BENCH: Final = Bench("footprint", GOALS, NEEDED, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
