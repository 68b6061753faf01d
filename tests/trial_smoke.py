"""``make smoke`` for an ordinary user: the demo's own parts, and the whole way once through them.

Real parts or embedded ones, as PARTS says. The last line is one JSON object, as ``smoke.py``'s; the status is 0 only if
everything was as promised, and no process and no file is left.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from demo.children import Failed
from demo.parts import Lacking, chosen
from demo.scratch import scratch_folder
from demo.trial import HOST, OWNER, Trial, is_listening
from demo.waiting import wait_until

from tests.house.ports import read_banner

HISTORY: Final = [f"OFF: Stop Remote M. · {OWNER}", f"ON: Start Remote M. · {OWNER}"]


def main(kind: str) -> int:
    """Run it on parts of ``kind`` and print the result."""
    try:
        parts = chosen(kind)
    except Lacking as lacking:
        print(f"make smoke cannot run here: {lacking}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    faults: list[str] = []
    result: dict[str, Any] = {}
    with scratch_folder() as folder:
        trial = Trial(folder, parts, say)
        try:
            trial.build()
            result = go_through(trial)
        except (AssertionError, Failed) as failed:
            faults.append(f"{failed}\n\n{logs(folder)}")
        finally:
            trial.close()
    say("looking for what is left")
    faults += left_behind(folder)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


def go_through(trial: Trial) -> dict[str, Any]:
    """Go the whole way; an AssertionError says what differed."""
    console, port = trial.console, trial.ports.door
    assert not is_listening(port), "the door's port is open before anyone asked"

    say("turning maintenance on")
    started = time.monotonic()
    console.open_door(trial.device, reason="smoke test")
    wait_until(lambda: read_banner(HOST, port), 30, "the door's banner through the relay")
    door_open_ms = (time.monotonic() - started) * 1000
    door = console.wait_for_door(trial.device, "open")
    trial.keep_known_hosts(door)

    say("logging in")
    wanted = f"{trial.user}@{os.uname().nodename}"
    login = (with_ssh if trial.parts.ssh else with_library)(trial, "id -un; uname -n").strip().replace("\n", "@")
    assert login == wanted, f"the log-in said {login!r} instead of {wanted!r}"

    say("turning maintenance off")
    started = time.monotonic()
    console.shut_door(trial.device)
    wait_until(lambda: not is_listening(port), 15, "the port to be closed")
    shut_ms = (time.monotonic() - started) * 1000
    console.wait_for_door(trial.device, "shut")

    say("verifying the history")
    console.wait_for_history(("session.on", "session.closed", "door.closed"))
    return {
        "parts": {**trial.parts.said(), "python": sys.version.split()[0], "kernel": os.uname().release},
        "door_open_ms": round(door_open_ms),
        "shut_ms": round(shut_ms),
        "login": login,
        "history": history(trial),
        "verified": verified(trial),
    }


def with_ssh(trial: Trial, command: str) -> str:
    """Log in with the line that the demo prints, as it stands."""
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    words = [str(trial.parts.ssh), *options, *trial.ssh_words()[1:], command]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"ssh ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def with_library(trial: Trial, command: str) -> str:
    """Log in with paramiko, where no ssh client is installed."""
    import paramiko  # late: most machines have ssh

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.WarningPolicy())
    try:
        client.connect(
            HOST, trial.ports.door, trial.user, key_filename=str(trial.key), allow_agent=False, look_for_keys=False
        )
        return client.exec_command(command)[1].read().decode()
    finally:
        client.close()


def history(trial: Trial) -> list[str]:
    found = trial.console.actions()
    assert found == HISTORY, f"the history says {found} instead of {HISTORY}"
    return found


def verified(trial: Trial) -> Any:
    """Check the exported history offline."""
    export = trial.folder / "history.jsonl"
    export.write_bytes(trial.console.export_history())
    said = trial.children.run(sys.executable, "-m", "doorward_console", "verify-history", export, "--json")
    return json.loads(said)


def left_behind(folder: Path) -> list[str]:
    """Name what a trial must not leave: its folder, and processes that name it."""
    found = [f"left behind: folder {folder}"] if folder.exists() else []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in words:
                found.append(f"left behind: process {entry.name}: {words.decode(errors='replace')[:200]}")
    return found


def logs(folder: Path) -> str:
    return "\n".join(
        f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(folder.glob("*.log"))
    )


def say(what: str) -> None:
    print(f"smoke: {what}", file=sys.stderr, flush=True)
