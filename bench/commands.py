"""From the API call for a command to its result in the console's history: one device with a real runner and hook, and a thousand at once.

One device: the whole house, the hook does nothing. The anchor is what nobody can go below, a message there and back over MQTT and an
empty fork. A thousand: simulated devices, each of which says after a while how it went; the call is the API's own code, without HTTP.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.fleet_standing import Fleet
from bench.fleet_standing import standing as standing_fleet
from bench.mqtt_turn import turns
from bench.report import MOST, Bench, Goal, Report, in_turn, median_ratio, medians, say
from bench.runner_start import RunnerStart
from bench.standing import NEEDED, standing_house
from tests.house.house import House
from tests.parts.files import scratch_folder, write_whole
from tests.parts.waiting import wait_until

GOALS: Final = {
    "round_trip_s": Goal(MOST, 0.4, "s from the API call to the result in the history"),
    "runner_ratio": Goal(MOST, 1.5, "the runner's start, against a cold Python with the same imports"),
    "bulk_1000_s": Goal(MOST, 10, "s until 1,000 results of one call stand in the console"),
}
ROUNDS, QUICK_ROUNDS = 30, 8
SIZE, QUICK_SIZE = 1000, 300
BULKS, QUICK_BULKS = 5, 1
PACE_S: Final = 2.0
"""Between the starts of two commands: a device that asks more than 20 times in 10 s is not heard at once, and each takes some."""
LIMIT_S: Final = 120.0
HOOK: Final = '#!/bin/sh\necho \'{"healthy": true, "checks": []}\'\n'
VERB: Final = "health"


def measure(report: Report, is_quick: bool) -> None:  # noqa: FBT001  one signature for every bench
    _one_device(report, QUICK_ROUNDS if is_quick else ROUNDS)
    _bulk(report, QUICK_SIZE if is_quick else SIZE, QUICK_BULKS if is_quick else BULKS)


def _one_device(report: Report, rounds: int) -> None:
    with standing_house() as house, turns(house.programs, house.folder / "anchor") as anchor:
        _give_hook(house)
        commands, runner = Commands(house), RunnerStart(house.device.machine)
        commands.asked_and_done_s()  # connections and caches are warm from here on
        measures = {
            "round_trip_s": commands.asked_and_done_s,
            "mqtt_and_fork_s": anchor.there_and_back_s,
            "runner_start_s": runner.runner_s,
            "python_same_imports_s": runner.python_s,
        }
        found = in_turn(rounds, measures)
    report.found("round_trip_s", statistics.median(found.pop("round_trip_s")))
    report.found("runner_ratio", median_ratio(found["runner_start_s"], found["python_same_imports_s"]))
    report.anchors.update(medians(found))
    report.notes.append(
        f"round_trip_s: the runner says that its hook took {statistics.median(commands.lasted_ms):g} ms"
    )


def _give_hook(house: House) -> None:
    """Give the device a hook that does nothing, and let the console know."""
    device = house.device
    folder = device.machine.folder / "etc/doorward/hooks"
    folder.mkdir()
    write_whole(folder / VERB, HOOK, 0o755)
    assert device.agent is not None
    device.agent.kill()
    device.start_agent()
    house.console.wait_for_device(device.id, lambda said: VERB in (said["verbs"] or ()))


class Commands:
    """One device that is asked at a steady pace."""

    def __init__(self, house: House) -> None:
        self._console, self._device = house.console, house.device.id
        self._not_before = 0.0
        self.lasted_ms: list[int] = []

    def asked_and_done_s(self) -> float:
        """Ask, and wait as a program does that wants the result; gives how long that took."""
        time.sleep(max(0.0, self._not_before - time.monotonic()))  # the pace, no wait for anything
        started = time.monotonic()
        self._not_before = started + PACE_S
        said = self._console.post(f"/devices/{self._device}/commands", verb=VERB)
        path = f"/devices/{self._device}/commands/{said['id']}"
        while said["state"] in {"asked", "queued", "ordered", "begun"}:
            assert time.monotonic() - started < LIMIT_S, said
            said = self._console.get(path, wait=5, state=said["state"])
        took_s = time.monotonic() - started
        assert (said["state"], said["result"]) == ("done", {"healthy": True, "checks": []}), said
        assert self._console.lines("command.done", self._device)[0]["data"]["command"] == said["id"]
        self.lasted_ms.append(said["lasted_ms"])
        return took_s


def _bulk(report: Report, size: int, rounds: int) -> None:
    with scratch_folder() as folder, standing_fleet(folder, size) as fleet:
        fleet.connect(size)
        wait_until(lambda: _offering() == size, LIMIT_S, "all devices to be heard")
        took = [_asked_of_all_s(fleet, size) for _ in range(rounds)]
    report.found("bulk_1000_s", statistics.median(took))
    report.notes.append(f"bulk_1000_s: {size} devices, {', '.join(f'{one:.1f}' for one in took)} s")


def _asked_of_all_s(fleet: Fleet, size: int) -> float:
    """Ask all devices with one call; gives how long it took until each one's result stood there."""
    say(f"one command for {size} devices")
    api = Api(fleet)
    started = time.monotonic()
    made = api.call("post", {"verb": VERB, "devices": [one.pk for one in fleet.devices]})
    answered_s = time.monotonic() - started
    wait_until(lambda: not _under_way(made["id"]), LIMIT_S, "all results")
    found = api.call("get", made["id"])
    took_s = time.monotonic() - started
    say(f"the call took {answered_s:.2f} s, all of it {took_s:.2f} s")
    assert found["counts"] == {"done": size}, found["counts"]
    wait_until(lambda: _told(made["id"]) == size, LIMIT_S, "all lines of the history")
    return took_s


class Api:
    """The project's commands over the API, as its owner calls it."""

    def __init__(self, fleet: Fleet) -> None:
        from django.test import Client

        self._client = Client(headers={"host": "localhost"})
        self._client.force_login(fleet.owner)
        self._path = f"/api/v1/projects/{fleet.devices[0].project_id}/commands"

    def call(self, how: str, what: Any) -> dict[str, Any]:
        """Post a wish, or get a batch by its id."""
        if how == "post":
            answer = self._client.post(self._path, what, content_type="application/json", secure=True)
        else:
            answer = self._client.get(f"{self._path}/{what}", secure=True)
        assert answer.status_code in {200, 202}, (answer.status_code, answer.content[:2000])
        found: dict[str, Any] = answer.json()
        return found


def _offering() -> int:
    from doorward_console.fleet.models import Device

    return int(Device.objects.filter(verbs__contains=[VERB]).count())


def _under_way(batch: str) -> bool:
    from doorward_console.maintenance.models import Command

    return bool(Command.objects.filter(batch=batch, state__in=Command.LIVE).exists())


def _told(batch: str) -> int:
    """Count the devices' own signed lines of this call's end."""
    from doorward_console.history.models import Record
    from doorward_console.maintenance.models import Command

    ids = set(Command.objects.filter(batch=batch).values_list("pk", flat=True))
    return len(ids & set(Record.objects.filter(verb="command.done").values_list("data__command", flat=True)))


BENCH: Final = Bench("commands", GOALS, (*NEEDED, "postgres"), measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
