"""``make smoke``: the whole way once, in a scratch folder on loopback.

For root, with real parts on machines of their own, as below; for an ordinary user, on the demo's parts (``trial_smoke``).

Turns a door on through the API, logs in with the downloaded key, runs a command, turns it off, proves the port closed
and the history whole. The last line is one JSON object; the status is 0 only if everything was as promised, and that
nothing is left running or lying about belongs to it: it is looked for at the end, after success and failure alike.
"""

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from demo.parts import AUTO, CHOICES, EMBEDDED

from tests import trial_smoke
from tests.house.house import LOGIN_USER, OWNER, House
from tests.house.machine import shut_to_devices
from tests.house.traces import accounts, traces_of
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.ports import is_listening
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until

NEEDED = ("root", "mosquitto", "sshd", "ssh", "sudo")
LOGIN = f"{LOGIN_USER}@{os.uname().nodename}"
HISTORY = [f"OFF: Stop Remote M. · {OWNER}", f"ON: Start Remote M. · {OWNER}"]


def main(arguments: Sequence[str] = ()) -> int:
    """Run the smoke test and print its result; the one argument names the parts (``demo.parts``)."""
    kind = arguments[0] if arguments else ""
    if kind not in {"", *CHOICES}:
        print(f"PARTS is {kind!r}; it has to be one of: {', '.join(CHOICES)}", file=sys.stderr)
        return os.EX_USAGE
    if os.geteuid() != 0:
        return trial_smoke.main(kind or AUTO)
    if kind == EMBEDDED:
        print("make smoke PARTS=embedded is for an ordinary user: its door opens that user's account.", file=sys.stderr)
        return os.EX_NOPERM
    return _as_root()


def _as_root() -> int:
    reasons = (*(missing(part) for part in NEEDED), shut_to_devices())
    if lacking := [reason for reason in reasons if reason is not None]:
        print("make smoke cannot run here: " + "; ".join(lacking), file=sys.stderr)
        return 69  # EX_UNAVAILABLE
    accounts_before = accounts()
    sessions: set[str] = set()
    faults: list[str] = []
    result: dict[str, Any] = {}
    with scratch_folder() as folder:
        house = House(folder, Programs(folder))
        try:
            result = go_through(house, sessions)
        except AssertionError as failed:
            faults.append(f"{failed}\n\n{house.logs()}")
        finally:
            house.close()
    say("looking for what is left")
    faults += traces_of(folder, sessions, accounts_before)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


def go_through(house: House, sessions: set[str]) -> dict[str, Any]:
    """Build the house and go the whole way, adding to ``sessions``; an AssertionError says what differed."""
    say("building the house: broker, console, relay, device")
    house.build()
    house.make_keys()
    device, port = house.devices["pump-7"], house.ports.door
    assert not is_listening(port), "the door's port is open before anyone asked"

    say("turning maintenance on")
    started = time.monotonic()
    house.console.open_door(device.id, reason="smoke test")
    wait_until(lambda: house.banner(port), 20, "the door's banner through the relay")
    door_open_ms = (time.monotonic() - started) * 1000
    sessions.add(house.console.wait_for_door(device.id, "open")["session"])

    say("logging in with the plain ssh client")
    status, said = house.log_in(device, "id -un; uname -n")
    login = said.strip().replace("\n", "@")
    assert (status, login) == (0, LOGIN), f"ssh ended with {status}: {said}"

    say("turning maintenance off")
    started = time.monotonic()
    house.console.shut_door(device.id)
    wait_until(lambda: not is_listening(port), 10, "the port to be closed")
    shut_ms = (time.monotonic() - started) * 1000
    house.console.wait_for_door(device.id, "shut")
    status, said = house.engineer(
        ["/usr/bin/ssh", "-F", "none", "-o", "BatchMode=yes", "-i", str(house.key), "-p", str(port), "127.0.0.1"]
    )
    assert status == 255, f"after OFF ssh still ended with {status}: {said}"

    say("verifying the history")
    house.console.wait_for_history(("session.on", "session.closed", "door.closed", "grant.ended"))
    verified = house.verify_history(house.export_history())
    history = house.console.actions()
    assert history == HISTORY, f"the history says {history} instead of {HISTORY}"
    return {
        "parts": parts(),
        "door_open_ms": round(door_open_ms),
        "shut_ms": round(shut_ms),
        "login": login,
        "history": history,
        "verified": verified,
    }


def parts() -> dict[str, str]:
    """Name the real parts and their versions."""
    said = {
        "broker": run(["/usr/sbin/mosquitto", "-h"]).stdout.decode(),
        "sshd": run(["/usr/bin/ssh", "-V"]).stderr.decode(),
    }
    found = {name: re.search(r"(?:version |OpenSSH_)([^\s,]+)", text) for name, text in said.items()}
    versions = {name: match.group(1) if match else "?" for name, match in found.items()}
    return {**versions, "python": sys.version.split()[0], "database": "sqlite", "kernel": os.uname().release}


def say(what: str) -> None:
    """Show progress where a person looks, apart from the result."""
    print(f"smoke: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main([word for word in sys.argv[1:] if word]))
