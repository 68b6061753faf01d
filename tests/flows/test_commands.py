"""Commands through the whole house: the API asks, the signer signs, root runs the device maker's hook, the result comes back."""

from typing import Any

import pytest

from tests.house.house import OWNER, Device, House
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
