"""What a device does beside its door when something happens to it: a command whose hook runs, and settings on trial.

The hooks are the lab's own, so that what they did can be read from the device's disk. Whatever was done to the house, a command ends
and its hook began once; a trial ends, and the device is set as the history says, the old way or the new one, whole.
"""

import json
import secrets
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from tests.house.house import House
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

TRIAL_S: Final = 25
"""Long enough for a device that was disturbed to be heard again and confirmed, and short: soaks wait for all of it."""
ENDED: Final = ("done", "failed", "cancelled", "expired", "refused")
OVER: Final = ("settings.applied", "settings.reverted", "settings.failed")
_FOLDER: Final = "/var/lib/lab"
_MESSAGE: Final = f"""\
#!/bin/sh
said=$(cat)
printf '%s\\n' "$said" >>{_FOLDER}/ran
case $said in *"a moment"*) sleep 2 ;; esac
"""
_READ_ARGUMENTS: Final = """\
words=$("$DOORWARD_PYTHON" -ISc \
    'import json, sys; told = json.load(sys.stdin)["arguments"]; print(told["values"].get("mode", "-"), told["base"])')
mode=${words% *} base=${words#* }
"""
_APPLY: Final = f"""\
#!/bin/sh
set -eu
{_READ_ARGUMENTS}
cd {_FOLDER}
if [ "$(cat base 2>/dev/null)" != "$base" ]; then
    cp mode before.new && mv before.new before
    printf '%s\\n' "$base" >base.new && mv base.new base
fi
printf '%s\\n' "$mode" >>applied
sleep 0.5
printf '%s\\n' "$mode" >mode.new && mv mode.new mode
sleep 0.5
"""
_REVERT: Final = f"""\
#!/bin/sh
set -eu
{_READ_ARGUMENTS}
cd {_FOLDER}
if [ "$(cat base 2>/dev/null)" != "$base" ]; then exit 0; fi
cp before mode.new && mv mode.new mode && rm base
"""
_READ: Final = f"""#!/bin/sh\nprintf '{{"values": {{"mode": "%s"}}}}' "$(cat {_FOLDER}/mode)"\n"""
_HOOKS: Final = {"message": _MESSAGE, "settings-read": _READ, "settings-apply": _APPLY, "settings-revert": _REVERT}


def ready(house: House) -> None:
    """Give the device the lab's hooks, and let the console hear of them; nothing is done where it has them."""
    etc = house.device.machine.folder / "etc/doorward"
    if _has_hooks(etc):
        return
    (etc / "hooks").mkdir(exist_ok=True)
    for name, text in _HOOKS.items():
        write_whole(etc / "hooks" / name, text, 0o755)
    kept = [line for line in (etc / "runner.toml").read_text().splitlines() if not line.startswith("trial_s")]
    write_whole(etc / "runner.toml", "\n".join([*kept, f"trial_s = {TRIAL_S}\n"]))
    (_disk(house)).mkdir(exist_ok=True)
    for name, text in (("mode", "calm\n"), ("ran", ""), ("applied", "")):
        write_whole(_disk(house) / name, text)
    since = datetime.now(timezone.utc).isoformat()
    house.device.machine.cut_power()
    house.device.boot()
    house.console.wait_for_device(
        house.device.id, lambda said: (said["seen_at"] or "") > since and "message" in (said["verbs"] or ()), 60
    )
    wait_until(lambda: _read_of(house) == {"mode": "calm"}, 60, "the device's settings to be read")


def _has_hooks(etc: Path) -> bool:
    return all(
        (etc / "hooks" / name).exists() and (etc / "hooks" / name).read_text() == text for name, text in _HOOKS.items()
    )


def _disk(house: House) -> Path:
    return house.device.machine.folder / _FOLDER[1:]


def _read_of(house: House) -> Any:
    return (house.console.get(_settings(house))["read"] or {}).get("values")


def _settings(house: House) -> str:
    return f"/devices/{house.device.id}/settings"


def begin_command(house: House) -> Callable[[float], None]:
    """Ask for a command and wait until its hook runs; gives what waits for its end and fails with what is not as it should be."""
    ready(house)
    path = f"/devices/{house.device.id}/commands"

    def ask(text: str) -> str:
        return str(house.console.post(path, verb="message", arguments={"text": text})["id"])

    def state(command: str) -> str:
        return str(house.console.get(f"{path}/{command}")["state"])

    made = ask("a moment")
    wait_until(lambda: times_run(house, made), 30, "the command's hook to run")

    def is_well(within_s: float) -> None:
        wait_until(lambda: state(made) in ENDED, within_s, f"the end of command {made}")
        assert state(made) in {"done", "failed"}, state(made)
        assert times_run(house, made) == 1, f"{made} ran {times_run(house, made)} times"
        after = ask("afterwards")
        wait_until(lambda: state(after) == "done", within_s, f"the next command, {after}, to be done")
        assert times_run(house, made) == 1, f"{made} ran again when the next one did"

    return is_well


def times_run(house: House, command: str) -> int:
    """Count how often a command's hook has begun, by the device's own disk."""
    lines = (_disk(house) / "ran").read_text().splitlines()
    return [json.loads(line)["command"] for line in lines].count(command)


def begin_trial(house: House) -> Callable[[float], None]:
    """Ask for other settings and wait until their hook runs; gives what waits for the trial's end, and fails with what is not as said."""
    ready(house)
    old, new = (_disk(house) / "mode").read_text().strip(), f"m-{secrets.token_hex(4)}"
    house.console.put(_settings(house), values={"mode": new})
    wait_until(lambda: _times_applied(house, new), 30, "the settings' hook to run")

    def is_well(within_s: float) -> None:
        end = wait_until(lambda: _end_of_trial(house), within_s + TRIAL_S, f"the end of trial {new}")
        is_set = (_disk(house) / "mode").read_text().strip()
        assert (end, is_set) in {("settings.applied", new), ("settings.reverted", old)}, (
            f"{end}: {is_set}, was {old}, new {new}"
        )
        assert _times_applied(house, new) == 1, f"{new} was tried {_times_applied(house, new)} times"

    return is_well


def _times_applied(house: House, mode: str) -> int:
    return (_disk(house) / "applied").read_text().split().count(mode)


def _end_of_trial(house: House) -> str:
    """Give how the newest settings' story ended, by the history; empty where it has not."""
    told = [
        line["verb"] for line in house.console.lines("all", house.device.id) if line["verb"].startswith("settings.")
    ]
    return told[0] if told[0] in OVER else ""


BEGIN: Final = {"COMMAND": begin_command, "TRIAL": begin_trial}
