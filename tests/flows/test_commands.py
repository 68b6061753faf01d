"""Commands through the whole house: the API asks, the signer signs, root runs the device maker's hook, the result comes back."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from tests.house.api import Declined
from tests.house.house import AGENT_USER, OWNER, Device, House
from tests.house.machine import PROGRAMS
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("I11")]

MESSAGE = """\
#!/bin/sh
# Writes down each message with the boot and the order in which it came.
document=$(cat)
echo "$document" >> /var/lib/said
echo "shown to nobody" >&2
echo '{"shown": ["a file"]}'
"""
SLOW = """\
#!/bin/sh
while [ ! -e /var/lib/go ]; do sleep 0.05; done
echo '{"well": true}'
"""
REBOOT = """\
#!/bin/sh
echo "$DOORWARD_VERB" >> /var/lib/restarted
"""
HOOKS = {"message": MESSAGE, "health": SLOW, "reboot": REBOOT}


@pytest.fixture
def hooked(house: House, device: Device) -> Device:
    """A device with hooks that do no harm, known to the console."""
    folder = device.machine.folder / "etc/doorward/hooks"
    folder.mkdir(exist_ok=True)
    for name, text in HOOKS.items():
        write_whole(folder / name, text, 0o755)
    for name in ("said", "restarted", "go"):
        (device.machine.folder / "var/lib" / name).unlink(missing_ok=True)
    restart(house, device)
    return device


def restart(house: House, device: Device) -> None:
    """Let the machine lose its power, and come back with its agent; wait until the console has heard its hooks."""
    device.machine.cut_power()
    device.boot()
    house.console.wait_for_device(device.id, lambda said: {*HOOKS} <= {*(said["verbs"] or ())})


def ask(house: House, device: Device, verb: str, **more: Any) -> str:
    made: str = house.console.post(f"/devices/{device.id}/commands", verb=verb, **more)["id"]
    return made


def see(house: House, device: Device, command: str) -> dict[str, Any]:
    found: dict[str, Any] = house.console.get(f"/devices/{device.id}/commands/{command}")
    return found


ENDED = {"done", "failed", "cancelled", "expired", "refused"}


def wait_for(house: House, device: Device, command: str, state: str, limit_s: float = 30) -> dict[str, Any]:
    """Wait until a command is in ``state``, or has ended otherwise."""

    def is_there() -> dict[str, Any]:
        found = see(house, device, command)
        return found if found["state"] in {state, *ENDED} else {}

    found = wait_until(is_there, limit_s, f"{command} to be {state}")
    if found["state"] != state:
        raise AssertionError(f"{found}")
    return found


def count_said(device: Device) -> int:
    said = device.machine.folder / "var/lib/said"
    return len(said.read_text().splitlines()) if said.exists() else 0


@pytest.mark.feature("I13")
def test_message_when_asked_then_the_hook_ran_once_and_its_result_is_in_api_and_history(
    house: House, hooked: Device
) -> None:
    """API, signer, broker, agent, runner, hook, and all the way back: the result, the words, and every author's lines."""
    command = ask(house, hooked, "message", arguments={"text": "hello"}, reason="ticket 4711")
    found = wait_for(house, hooked, command, "done")
    assert (found["result"], found["said"], found["status"]) == ({"shown": ["a file"]}, "shown to nobody", 0)
    assert (found["by"], found["reason"], found["why"]) == (OWNER, "ticket 4711", None)
    assert count_said(hooked) == 1
    house.console.wait_for_history(
        ("command.asked", "command.ordered", "order.accepted", "command.begun", "command.done", "command.ended"),
        hooked.id,
    )
    assert house.verify_history(house.export_history())["holds"] is True


def test_commands_when_the_device_was_away_for_fifty_then_each_ran_once_and_in_the_order_of_asking(
    house: House, hooked: Device
) -> None:
    """Queued while it is off; delivered one after the other when it asks; one beyond fifty is refused."""
    hooked.machine.cut_power()
    house.console.wait_for_device(hooked.id, lambda said: said["presence"] == "away", 60)
    commands = [ask(house, hooked, "message", arguments={"number": number}) for number in range(51)]
    wait_for(house, hooked, commands[50], "refused")
    assert see(house, hooked, commands[50])["why"]["code"] == "command.too-many"
    assert {see(house, hooked, one)["state"] for one in commands[:3]} == {"queued"}
    hooked.boot()
    wait_for(house, hooked, commands[49], "done", 90)
    said = (hooked.machine.folder / "var/lib/said").read_text().splitlines()
    assert [json.loads(line)["arguments"]["number"] for line in said] == [*range(50)]


def test_command_when_cancelled_while_queued_then_it_never_runs(house: House, hooked: Device) -> None:
    """What was taken back while the device was off is not done when it is there again; what was asked after it is."""
    hooked.machine.cut_power()
    house.console.wait_for_device(hooked.id, lambda said: said["presence"] == "away", 60)
    gone = ask(house, hooked, "message", arguments={"text": "gone"})
    stays = ask(house, hooked, "message", arguments={"text": "stays"})
    wait_for(house, hooked, gone, "queued")
    cancelled = house.console.post(f"/devices/{hooked.id}/commands/{gone}/cancel")
    assert (cancelled["state"], cancelled["ended_by"], cancelled["why"]["code"]) == (
        "cancelled", OWNER, "command.cancelled",
    )  # fmt: skip
    with pytest.raises(Declined) as refused:
        house.console.post(f"/devices/{hooked.id}/commands/{gone}/cancel")
    assert refused.value.code == "command.not-waiting"
    hooked.boot()
    wait_for(house, hooked, stays, "done", 60)
    said = (hooked.machine.folder / "var/lib/said").read_text()
    assert ("stays" in said, "gone" in said) == (True, False)


def test_reboot_when_the_device_reboots_then_it_ran_once_and_what_waited_behind_it_comes_after(
    house: House, hooked: Device
) -> None:
    """The classic trap: a reboot that is ordered again by the device that has just come back."""
    reboot = ask(house, hooked, "reboot")
    message = ask(house, hooked, "message", arguments={"text": "after"})
    restarted = hooked.machine.folder / "var/lib/restarted"
    wait_until(restarted.exists, 30, "the reboot's hook to run")
    wait_for(house, hooked, reboot, "begun")
    assert see(house, hooked, message)["state"] == "queued"
    hooked.machine.cut_power()
    hooked.boot()
    wait_for(house, hooked, reboot, "done", 60)
    wait_for(house, hooked, message, "done", 60)
    assert restarted.read_text() == "reboot\n"
    assert count_said(hooked) == 1


def test_commands_when_two_operators_ask_at_once_then_each_is_done_once_and_a_door_is_not_held_up(
    house: House, hooked: Device
) -> None:
    """A hook that takes its time holds up the other's command and nobody's door; both are done in the end."""
    other = house.person(f"bo-{time.monotonic_ns()}@example.com", "admin")
    with ThreadPoolExecutor(2) as pool:
        path = f"/devices/{hooked.id}/commands"
        asked = [pool.submit(one.post, path, verb="health") for one in (house.console, other)]
    first, second = sorted((one.result() for one in asked), key=lambda one: str(one["at"]))
    wait_for(house, hooked, first["id"], "begun")
    assert see(house, hooked, second["id"])["state"] == "queued"
    house.console.open_door(hooked.id)
    house.console.wait_for_door(hooked.id, "open")
    house.console.shut_and_wait(hooked.id)
    assert see(house, hooked, first["id"])["state"] == "begun"
    write_whole(hooked.machine.folder / "var/lib/go", "")
    done = [wait_for(house, hooked, one["id"], "done") for one in (first, second)]
    assert [one["result"] for one in done] == [{"well": True}] * 2
    assert {one["by"] for one in done} == {OWNER, done[0]["by"], done[1]["by"]}
    assert done[0]["by"] != done[1]["by"]
    other.close()


def test_command_when_somebody_lists_the_hooks_again_and_again_then_it_is_done_within_seconds(
    house: House, hooked: Device
) -> None:
    """`doorward-agent hooks` asks the same runner, by root and by the agent's user: it takes no nonce that the agent has told."""
    over = Event()

    def list_hooks(user: str | None) -> list[int]:
        statuses = []
        while not over.is_set():
            ran = hooked.machine.run(PROGRAMS / "doorward-agent", "hooks", user=user)
            statuses.append(ran.returncode if b"/etc/doorward/hooks/message" in ran.stdout else -1)
        return statuses

    with ThreadPoolExecutor(2) as pool:
        listing = [pool.submit(list_hooks, user) for user in (None, AGENT_USER)]
        try:
            for number in range(5):
                command = ask(house, hooked, "message", arguments={"number": number})
                wait_for(house, hooked, command, "done", 20)
        finally:
            over.set()
    statuses = [status for one in listing for status in one.result()]
    assert len(statuses) >= 6
    assert set(statuses) == {0}
    assert count_said(hooked) == 5


@pytest.mark.feature("I14")
def test_reset_when_another_name_was_typed_then_refused_at_once(house: House, hooked: Device) -> None:
    """Nothing that cannot be taken back is asked for without the device's own name; what is no command is named as such."""
    with pytest.raises(Declined) as refused:
        ask(house, hooked, "factory-reset", confirm="pump-8")
    assert refused.value.code == "command.not-confirmed"
    with pytest.raises(Declined) as refused:
        ask(house, hooked, "explode")
    assert refused.value.code == "command.unknown"


def test_batch_when_asked_for_all_then_its_counts_and_results_tell(house: House, hooked: Device) -> None:
    """One request for whatever a filter finds; how far it is and each device's own result."""
    path = f"/projects/{house.console.get(f'/devices/{hooked.id}')['project']}/commands"
    made = house.console.post(path, verb="message", arguments={"text": "all"}, filter={"q": "pump"})
    wait_until(lambda: house.console.get(f"{path}/{made['id']}")["counts"] == {"done": 1}, 30, "the batch")
    found = house.console.get(f"{path}/{made['id']}")
    assert [(one["name"], one["state"]) for one in found["results"]] == [("pump-7", "done")]
    assert house.console.post(f"{path}/{made['id']}/stop")["counts"] == {"done": 1}
