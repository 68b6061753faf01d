"""Agent, runner and hooks killed at once at each step, many times; and settings that the agent does not survive (I11, B7)."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import pytest

from tests.house.house import OWNER, Device, House
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.feature("I11", "B7")]

MOMENTS: Final = 10
ENDED: Final = {"done", "failed", "cancelled", "expired", "refused"}
MESSAGE: Final = "#!/bin/sh\ncat >> /var/lib/ran\necho >> /var/lib/ran\nsleep 0.2\n"
READ: Final = '#!/bin/sh\nprintf \'{"values": {"mode": "%s"}}\' "$(cat /var/lib/mode)"\n'
APPLY: Final = """\
#!/bin/sh
# Settings that the agent does not survive: it is ended as often as it comes, until the old ones are back.
cp /var/lib/mode /var/lib/mode.before
echo applied >> /var/lib/steps
echo deadly > /var/lib/mode
"""
REVERT: Final = """\
#!/bin/sh
echo reverted >> /var/lib/steps
if [ -e /var/lib/mode.before ]; then cp /var/lib/mode.before /var/lib/mode; fi
"""
HOOKS: Final = {"message": MESSAGE, "settings-read": READ, "settings-apply": APPLY, "settings-revert": REVERT}


@pytest.fixture
def hooked(house: House, device: Device) -> Iterator[Device]:
    """A device with these hooks, known to the console, whose trials are short; without them again afterwards."""
    etc, lib = device.machine.folder / "etc/doorward", device.machine.folder / "var/lib"
    (etc / "hooks").mkdir(exist_ok=True)
    for name, text in HOOKS.items():
        write_whole(etc / "hooks" / name, text, 0o755)
    before = (etc / "runner.toml").read_text()
    write_whole(etc / "runner.toml", f"{before}trial_s = 10\n")
    for name in ("ran", "steps"):
        (lib / name).unlink(missing_ok=True)
    write_whole(lib / "mode", "calm\n")
    restart(house, device)
    settings = f"/devices/{device.id}/settings"
    wait_until(lambda: (house.console.get(settings)["read"] or {}).get("values") == {"mode": "calm"}, 60, "its reading")
    yield device
    for name in HOOKS:
        (etc / "hooks" / name).unlink()  # those that come along are left
    write_whole(etc / "runner.toml", before)
    restart(house, device)


def restart(house: House, device: Device) -> None:
    """Cut the device's power and boot it, and wait until the console has heard it since."""
    since = datetime.now(timezone.utc).isoformat()
    device.machine.cut_power()
    device.boot()

    def is_heard(said: dict[str, Any]) -> bool:
        return (said["seen_at"] or "") > since and "message" in (said["verbs"] or ())  # once its runner has said so

    house.console.wait_for_device(device.id, is_heard, 60)


def kill_all(device: Device) -> None:
    """Kill whatever runs on the machine but its first process, until nothing is left."""
    init = device.machine.init_pid
    space = Path(f"/proc/{init}/ns/pid").readlink()

    def is_there(pid: int) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{pid}/ns/pid").readlink() == space and "Z" not in _state_of(pid)
        return False

    def left() -> list[int]:
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        found = [pid for pid in pids if pid != init and is_there(pid)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found

    wait_until(lambda: not left(), 20, "the machine to be still")


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ran(device: Device) -> list[str]:
    """Give which commands' hook has begun, in that order."""
    path = device.machine.folder / "var/lib/ran"
    return [json.loads(line)["command"] for line in path.read_text().splitlines() if line] if path.exists() else []


def test_commands_when_everything_on_the_device_is_killed_at_any_moment_then_none_runs_twice(
    house: House, hooked: Device
) -> None:
    """Each ends, done or told to have been cut off; the history holds; and what had not begun is done after all."""
    path, asked, states = f"/devices/{hooked.id}/commands", [], []
    for number in range(MOMENTS):
        made = house.console.post(path, verb="message", arguments={"number": number})["id"]
        time.sleep(0.06 * number)  # a moment by number: there is nothing to wait for
        kill_all(hooked)
        hooked.start_agent()

        def state(made: str = made) -> str:
            found: str = house.console.get(f"{path}/{made}")["state"]
            return found if found in ENDED else ""

        states.append(wait_until(state, 60, f"the end of {made}"))
        asked.append(made)
    times = {made: ran(hooked).count(made) for made in asked}
    assert set(times.values()) <= {0, 1}, times
    assert [times[made] for made, state in zip(asked, states, strict=True) if state == "done"] == [1] * states.count(
        "done"
    )
    assert set(states) <= {"done", "failed"}
    assert house.verify_history(house.export_history())["holds"] is True


def test_settings_when_the_agent_does_not_survive_them_then_the_device_puts_the_old_ones_back_without_it(
    house: House, hooked: Device
) -> None:
    """A service that crashes confirms nothing: root's half alone puts back, and the agent that lives again says so."""
    path, lib = f"/devices/{hooked.id}/settings", hooked.machine.folder / "var/lib"
    house.console.put(path, values={"mode": "deadly"})
    wait_until(lambda: (lib / "mode").read_text() == "deadly\n", 60, "the settings to be in force")
    assert hooked.agent is not None
    hooked.agent.kill()
    wait_until(lambda: (lib / "mode").read_text() == "calm\n", 40, "the old settings to be back")
    assert not hooked.agent.is_running
    hooked.start_agent()
    house.console.wait_for_history(("settings.reverted",), hooked.id, 60)
    found: dict[str, Any] = house.console.get(path)
    assert (found["wanted"], found["is_applied"]) == ({"mode": "deadly"}, False)
    restart(house, hooked)
    after = house.console.post(f"/devices/{hooked.id}/commands", verb="message")["id"]
    wait_until(lambda: house.console.get(f"/devices/{hooked.id}/commands/{after}")["state"] == "done", 60, "a command")
    assert (lib / "steps").read_text().split() == ["applied", "reverted"]  # that revision is never tried again
    told = [line for line in house.console.lines("all", hooked.id) if line["verb"] == "settings.reverted"]
    assert (told[0]["data"]["code"], OWNER) == (
        "settings.unconfirmed",
        house.console.lines("settings.asked", hooked.id)[0]["by"],
    )
