"""Two owners at the same moment, each in a browser of their own: what contradicts is decided once, and both are told how."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any, Final

import pytest

from tests.house.api import Console, Declined
from tests.house.house import OWNER, Device, House
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("I10", "I11")]

TIMES: Final = 6
ENDED: Final = {"done", "failed", "cancelled", "expired", "refused"}


@pytest.fixture
def owners(house: House, device: Device) -> Iterator[tuple[Console, Console]]:
    """Two owners, and a device that is switched off: whatever is asked of it waits."""
    other = house.person(f"bo-{time.monotonic_ns()}@example.com", "owner")
    device.machine.cut_power()
    house.console.wait_for_device(device.id, lambda said: said["presence"] == "away", 60)
    yield house.console, other
    other.close()


def at_once(*wishes: Callable[[], Any]) -> list[Any]:
    """Let all begin together; gives each answer, or the code with which it was declined."""
    start = Barrier(len(wishes))

    def told(wish: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return wish()
        except Declined as no:
            return no.code

    with ThreadPoolExecutor(len(wishes)) as pool:
        return list(pool.map(told, wishes))


def test_settings_when_two_owners_save_at_once_then_one_is_taken_and_the_other_is_told(
    house: House, device: Device, owners: tuple[Console, Console]
) -> None:
    """Both had seen the same document: nobody's change is lost without a word, and what is wanted is one of the two, whole."""
    path, taken = f"/devices/{device.id}/settings", []
    for number in range(TIMES):
        mark = house.console.get(path)["mark"]
        wishes = [{"hostname": f"pump-{number}-{name}"} for name in ("a", "b")]
        put = [partial(owner.put, path, values=wish, based_on=mark) for owner, wish in zip(owners, wishes, strict=True)]
        answers = at_once(*put)
        assert answers.count("settings.changed-meanwhile") == 1, answers
        (won,) = (wish for wish, answer in zip(wishes, answers, strict=True) if isinstance(answer, dict))
        assert house.console.get(path)["wanted"] == won
        taken.append(won)
    asked = [line for line in house.console.lines("settings.asked", device.id) if line["by"]][:TIMES]
    assert len(asked) == TIMES
    device.boot()
    wait_until(lambda: house.console.get(path)["is_applied"], 60, "the settings to be applied")
    assert device.machine.must("/bin/hostname").strip() == taken[-1]["hostname"]


def test_command_when_two_owners_cancel_it_at_once_then_one_has_and_it_never_runs(
    house: House, device: Device, owners: tuple[Console, Console]
) -> None:
    """The history names who did; the other is told that nothing waited any more."""
    path = f"/devices/{device.id}/commands"
    for _ in range(TIMES):
        made = house.console.post(path, verb="health")["id"]
        answers = at_once(*(partial(owner.post, f"{path}/{made}/cancel") for owner in owners))
        assert answers.count("command.not-waiting") == 1, answers
        (told,) = (answer for answer in answers if isinstance(answer, dict))
        assert told["state"] == "cancelled"
        assert house.console.get(f"{path}/{made}")["ended_by"] == told["ended_by"]


def test_device_when_one_blocks_it_while_the_other_asks_for_a_restart_then_nothing_is_left_that_could_run(
    house: House, device: Device, owners: tuple[Console, Console]
) -> None:
    """Whoever was first: the restart is cancelled or refused, also once the device is there and unblocked again."""
    one, other = owners
    path, made = f"/devices/{device.id}", []
    for _ in range(TIMES):
        answers = at_once(lambda: one.post(f"{path}/block"), lambda: other.post(f"{path}/commands", verb="reboot"))
        if isinstance(answers[1], dict):
            made.append(answers[1]["id"])
        else:
            assert answers[1] == "signer.blocked"
        one.post(f"{path}/unblock")
    device.boot()
    house.console.wait_for_device(device.id, lambda said: said["presence"] == "connected", 60)
    after = house.console.post(f"{path}/commands", verb="rehearse")["id"]
    wait_until(lambda: house.console.get(f"{path}/commands/{after}")["state"] in ENDED, 60, "the one after")
    states = {house.console.get(f"{path}/commands/{each}")["state"] for each in made}
    assert states <= {"cancelled", "refused"}
    assert OWNER in {line["by"] for line in house.console.lines("device.blocked", device.id)}
