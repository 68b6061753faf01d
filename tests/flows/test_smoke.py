"""``make smoke``'s program itself: it works from nothing, ends as it says, and finds what is left behind."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.house.machine import CHECKOUT
from tests.house.traces import accounts, traces_of
from tests.parts.installed import cgroup_root
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until

SMOKE = CHECKOUT / "tests" / "smoke.py"
KEYS = {"parts", "door_open_ms", "shut_ms", "login", "history", "verified"}


@pytest.mark.timeout(240)
@pytest.mark.real("root", "mosquitto", "sshd", "ssh", "sudo")
def test_smoke_when_run_with_an_empty_environment_and_home_then_its_last_line_is_the_result(scratch: Path) -> None:
    """No PATH, no locale, an empty HOME that stays empty: status 0, and the last line is one JSON object."""
    home = scratch / "home"
    home.mkdir()
    ran = run([sys.executable, SMOKE], env={"HOME": str(home)}, limit_s=200)
    assert ran.returncode == 0, ran.stderr.decode()
    result = json.loads(ran.stdout.splitlines()[-1])
    assert set(result) == KEYS
    assert result["login"] == f"remote-admin@{os.uname().nodename}"
    assert [line.partition(":")[0] for line in result["history"]] == ["OFF", "ON"]
    assert result["verified"]["holds"] is True
    assert 0 < result["shut_ms"] < 10_000
    assert 0 < result["door_open_ms"] < 20_000
    assert not [*home.iterdir()]


@pytest.mark.real("root")
@pytest.mark.parametrize(
    ("parts", "status", "sentence"), [("embedded", 77, b"ordinary user"), ("plastic", 64, b"one of: auto")]
)
def test_smoke_when_it_cannot_run_on_these_parts_then_it_says_so(parts: str, status: int, sentence: bytes) -> None:
    """Root has no use for a door of its own account, and a word that is none of the choices is answered with them."""
    ran = run([sys.executable, SMOKE, parts])
    assert (ran.returncode, ran.stdout) == (status, b"")
    assert sentence in ran.stderr


@pytest.mark.real("root", "mosquitto", "sshd", "ssh", "sudo", "unshare")
def test_smoke_when_the_checkout_is_shut_to_a_devices_users_then_it_says_so_at_once() -> None:
    """Root reads everything and a device's agent does not: one sentence names the folder, before anything is built."""
    shown = """
        mount -t tmpfs -o mode=700 tmpfs /mnt; mkdir /mnt/checkout; mount --bind "$1" /mnt/checkout
        exec "$2" /mnt/checkout/tests/smoke.py
    """
    ran = run(["unshare", "--mount", "/bin/sh", "-ec", shown, "sh", CHECKOUT, sys.executable], limit_s=50)
    assert (ran.returncode, ran.stdout) == (69, b"")
    assert b"/mnt shuts them out: clone to a folder of mode 0755" in ran.stderr


@pytest.mark.real("root", "cgroup")
@pytest.mark.parametrize("kind", ["title", "cwd", "mount", "group", "account", "folder"])
def test_traces_when_something_is_left_then_it_is_named(scratch: Path, programs: Programs, kind: str) -> None:
    """A process by its command line, its folder or its view of the disk; a group, an account, a folder: each is found."""
    house = scratch / "doorward-house"
    before, session = accounts(), f"s-{os.getpid()}"
    house.mkdir()
    leave(kind, house, programs, before, session)
    if kind != "folder":
        shutil.rmtree(house)
    try:
        found = traces_of(house, {session}, before, limit_s=0.2)
    finally:
        if kind == "group":
            group_of(session).rmdir()
    word = {"group": "control group", "account": "account root", "folder": "folder"}.get(kind, "process")
    assert found, "nothing was found"
    assert all(line.startswith(f"left behind: {word}") for line in found), found


def leave(kind: str, house: Path, programs: Programs, before: set[str], session: str) -> None:
    """Leave one thing behind."""
    bound = f"mount --bind {house} /mnt && cd / && exec sleep 600"
    started = {
        "title": ["/bin/bash", "-c", 'exec -a "$0" sleep 600', str(house)],
        "cwd": ["/usr/bin/env", "-C", str(house), "sleep", "600"],
        "mount": ["/usr/bin/unshare", "--mount", "--kill-child", "/bin/sh", "-c", bound],
    }
    if kind in started:
        program = programs.start(*started[kind], cwd=Path("/"))
        sleeping = {program.pid} if kind != "mount" else set()
        wait_until(lambda: is_asleep(sleeping or children_of(program.pid)), 5, "the process to be where it stays")
    elif kind == "group":
        group_of(session).mkdir()
    elif kind == "account":
        before.remove(next(name for name in before if name.startswith("account root:")))


def is_asleep(pids: set[int]) -> bool:
    return bool(pids) and all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in pids)


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def group_of(session: str) -> Path:
    root = cgroup_root()
    assert root is not None
    return root / f"doorward-{session}"
