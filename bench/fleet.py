"""How soon a toggle turns green in a fleet of a thousand, how many asks one worker takes, and how soon a fleet is back.

Real Mosquitto, PostgreSQL, worker and signer; the devices are simulated, with real connections and signatures. Asking is done as web
does it, without HTTP.
"""

import os
import statistics
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.fleet_standing import Fleet, standing
from bench.report import LEAST, MOST, Bench, Goal, Report
from tests.parts.files import scratch_folder
from tests.parts.waiting import wait_until

SIZE, QUICK_SIZE = 1000, 300
STEPS, FEW = (1, 10, 100), 10
"""Connected on the way, and toggled then."""
ASKS, TOGGLE = "asks a second", "ON to green, median s"
OUTAGE_S = 10
LIMIT_S = 300
GREEN_S = 60
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(report: Report, quick: bool) -> None:  # noqa: FBT001  the harness's
    size = QUICK_SIZE if quick else SIZE
    with scratch_folder() as folder, standing(folder, size) as fleet:
        for connected in STEPS:
            fleet.connect(connected)
            _are_heard(connected)
            report.grown(ASKS, connected, _asks_per_s(fleet, connected, 3))
            report.grown(TOGGLE, connected, statistics.median(_toggles(fleet, min(connected, FEW))))
        fleet.connect(size)
        _are_heard(size)
        _whole(report, fleet, size, 3 if quick else 10, 30 if quick else 200)
        _outage(report, fleet)
    report.notes.append(f"{size} devices")


def _are_heard(size: int) -> None:
    wait_until(lambda: _heard_since(None) == size, LIMIT_S, "the first asks")


def _whole(report: Report, fleet: Fleet, size: int, rounds: int, toggles: int) -> None:
    """Measure the whole fleet."""
    assert fleet.worker is not None
    before_s = _cpu_s(fleet.worker.pid)
    report.found("asks_per_s", _asks_per_s(fleet, size, rounds))
    each_ms = (_cpu_s(fleet.worker.pid) - before_s) / (rounds * size) * 1000
    report.notes.append(f"worker: {each_ms:.2f} ms of its processor for each ask")
    took = _toggles(fleet, toggles)
    report.found("toggle_green_p50_s", statistics.median(took))
    report.found("toggle_green_p99_s", sorted(took)[len(took) * 99 // 100])
    report.grown(ASKS, size, report.figures["asks_per_s"])
    report.grown(TOGGLE, size, report.figures["toggle_green_p50_s"])


def _asks_per_s(fleet: Fleet, size: int, rounds: int) -> float:
    """Let so many ask at once, again and again; more often than each may (20 in 10 s) it never does."""
    found = []
    for _ in range(rounds):
        due = _asked() + size
        began = time.monotonic()
        fleet.tell("ask", size)
        wait_until(lambda due=due: _asked() >= due, LIMIT_S, "the asks to be heard")  # type: ignore[misc]  # the default binds the loop's value
        found.append(size / (time.monotonic() - began))
    return statistics.median(found)


def _toggles(fleet: Fleet, rounds: int) -> list[float]:
    """Turn so many on, one after the other, and all off again; gives how long each took to be green."""
    from doorward_console.maintenance.asking import turn_off, turn_on

    took = []
    for device in fleet.devices[:rounds]:
        began = time.monotonic()
        turn_on(device, fleet.owner, "203.0.113.7", 600, "ticket 4711")
        with suppress(AssertionError):  # said below, with how far it came
            wait_until(lambda device=device: outcome(device.pk), GREEN_S)  # type: ignore[misc]  # as above
        took.append(time.monotonic() - began)
        assert outcome(device.pk) == "open", f"{device} is not green: {outcome(device.pk)} {_steps(device.pk)}"
    for device in fleet.devices[:rounds]:
        turn_off(device, fleet.owner, "203.0.113.7")
    wait_until(lambda: {_state(one.pk) for one in fleet.devices[:rounds]} == {"closed"}, LIMIT_S, "all to be shut")
    return took


def outcome(device: str) -> str:
    """Say what became of a device's newest ON: open, failed, or the code with which it was refused; empty while it is under way."""
    from doorward_console.maintenance.models import Intent

    asked = Intent.objects.filter(device_id=device, kind=Intent.Kind.ON).latest("id")
    if asked.state == Intent.State.REFUSED:
        return str(asked.code)
    state = _state(device)
    return state if state in {"open", "failed"} else ""


def _outage(report: Report, fleet: Fleet) -> None:
    """Take the broker away, and count from its return until 99 of 100 devices have asked again."""
    fleet.broker.stop()
    gone = time.monotonic()
    wait_until(lambda: time.monotonic() - gone > OUTAGE_S, OUTAGE_S + 5, "the outage to pass")
    since = _now()
    began = time.monotonic()
    fleet.broker.start()
    enough = len(fleet.devices) * 99 // 100
    wait_until(lambda: _heard_since(since) >= enough, LIMIT_S, "the fleet to be back")
    report.found("return_1000_s", time.monotonic() - began)


def _now() -> datetime:
    from django.utils import timezone

    return timezone.now()


def _heard_since(since: datetime | None) -> int:
    from doorward_console.fleet.models import Device

    found = Device.objects.filter(ask_count__gt=0)
    return int((found if since is None else found.filter(seen_at__gte=since)).count())


def _asked() -> int:
    from django.db.models import Sum
    from doorward_console.fleet.models import Device

    return int(Device.objects.aggregate(all=Sum("ask_count"))["all"] or 0)


def _state(device: str) -> str:
    from doorward_console.maintenance.models import Session

    newest = Session.objects.filter(device_id=device).order_by("-requested_at").values_list("state", flat=True)
    return newest.first() or ""


def _steps(device: str) -> str:
    """Say how far a device's newest session has come."""
    from doorward_console.maintenance.models import Session

    newest = Session.objects.filter(device_id=device).order_by("-requested_at").first()
    return "no session" if newest is None else f"{newest.state} {newest.code} {newest.steps}"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


GOALS = {
    "toggle_green_p50_s": Goal(MOST, 0.5, "s from ON to green, half of the toggles"),
    "toggle_green_p99_s": Goal(MOST, 1.5, "s from ON to green, 99 of 100"),
    "asks_per_s": Goal(LEAST, 500, "asks that one worker takes in a second"),
    "return_1000_s": Goal(MOST, 60, "s after an outage of 10 s until 99 of 100 are back"),
}
BENCH = Bench("fleet", GOALS, ("root", "mosquitto", "postgres"), measure)

if __name__ == "__main__":
    raise SystemExit(BENCH.main())
