"""Ends of doors: asked for, at their time, and with everybody dead who could have ended them; once with each closer."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.parts.files import write_whole
from tests.parts.installed import cgroup_root, require
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until
from tests.runner.programs import KEEPER, RUNNER
from tests.runner.site import Site, is_running, is_shut

SOON_S = 5
"""A session's length for tests that wait for its end: time enough on a busy machine to log in before it."""


@pytest.mark.feature("E5", "E9")
@pytest.mark.threat("login-outlives")
def test_door_when_closed_then_nothing_that_was_started_behind_it_is_left(closing_site: Site) -> None:
    """Closing answers once everything is gone: nohup, setsid, ignored signals and all, port, files and groups."""
    site = closing_site
    answer = site.open()
    assert answer["closer"] == site.closer
    pids = site.leave_behind(answer["port"])
    assert site.ask({"verb": "close", "session": answer["session"]}) == {
        "ok": True, "state": "shut", "session": answer["session"],
    }  # fmt: skip
    assert is_shut(site, answer["port"], pids)
    assert set(site.ended()) == {answer["session"]}
    assert site.ask({"verb": "close", "session": answer["session"]})["ok"]


def test_door_when_shut_is_ordered_then_it_is_shut_and_its_revision_held(closing_site: Site) -> None:
    """A signed shut order ends whatever is open, also where it names none."""
    site = closing_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    shut = site.order(site.envelope(json.dumps({"state": "shut", "session": None})))
    assert shut == {"ok": True, "state": "shut", "session": answer["session"]}
    assert is_shut(site, answer["port"], pids)
    assert json.loads((site.state_dir / "promise.json").read_text())["revision"] == site.revision


def test_door_when_close_names_another_session_then_it_stays_open(closing_site: Site) -> None:
    """A late close of an old session cannot touch the new one, and is remembered all the same."""
    site = closing_site
    answer = site.open()
    other = site.new_session()
    assert site.ask({"verb": "close", "session": other})["ok"]
    assert is_listening(answer["port"])
    assert site.ended() == [other]


@pytest.mark.feature("B4")
@pytest.mark.threat("agent-killed", "login-outlives")
def test_door_when_agent_and_runner_are_killed_then_it_closes_at_its_end(
    closing_site: Site, programs: Programs
) -> None:
    """Nobody of ours is alive, and the door ends on time with what runs under nohup; it never opens again."""
    site = closing_site
    site.ask({"verb": "status"})
    envelope, port = site.envelope(site.body(site.new_session(), duration_s=SOON_S)), free_port()
    request = write_whole(
        site.folder / "request", json.dumps({"verb": "order", "envelope": envelope, "port": port}) + "\n"
    )
    command = f"{require('sudo')} -n {RUNNER} --config {site.config} < {request}; exec sleep 600"
    agent = programs.start("/bin/sh", "-c", command, name="agent", user=site.agent_user)
    agent.wait_for_log('"ok":true')
    pids = site.leave_behind(port)
    agent.kill()
    wait_until(lambda: is_shut(site, port, pids), 8, "the closer")
    assert set(site.ended()) == {site.sessions[0]}
    again = site.order(site.envelope(site.body(site.sessions[0], SOON_S), revision=site.revision))
    assert again["code"] == "order.session-ended"


def test_door_when_extended_then_logins_go_on_and_a_shorter_end_holds_too(
    closing_site: Site, programs: Programs
) -> None:
    """A higher revision of the open session moves its end and touches nothing that runs."""
    site = closing_site
    first = site.open(duration_s=SOON_S)
    pids = site.leave_behind(first["port"])
    target = ["-p", str(first["port"]), f"{site.login_user}@127.0.0.1", "sleep 600"]
    client = programs.start(require("ssh"), *site.ssh_options(), *target)
    end = site.run_dir / f"door-{first['session']}" / "end"
    first_end_s = int(end.read_text())
    longer = site.order(site.envelope(site.body(first["session"], 600)))
    assert longer == first
    assert int(end.read_text()) > first_end_s + 500
    wait_until(lambda: _uptime_s() > first_end_s + 1)
    assert client.is_running
    assert all(is_running(pid) for pid in pids)
    assert site.order(site.envelope(site.body(first["session"], SOON_S + 5)))["ok"]
    wait_until(lambda: is_shut(site, first["port"], pids), 10, "the shorter end")


def _uptime_s() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def _closers_pid(site: Site, session: str) -> int:
    """Find who would end the door: the keeper, or the subreaper."""
    if site.closer == "subreaper":
        return int((site.run_dir / f"door-{session}" / "subreaper.pid").read_text().split()[0])
    root = cgroup_root()
    assert root is not None
    for pid in (root / f"doorward-{session}" / "cgroup.procs").read_text().split():
        if KEEPER.name in Path(f"/proc/{pid}/cmdline").read_text():
            return int(pid)
    raise AssertionError("there is no keeper")


def test_door_when_its_closer_was_killed_then_the_next_request_ends_what_is_over(closing_site: Site) -> None:
    """Even with the closer prevented a door past its end is shut by whoever calls the runner next, and for good."""
    site = closing_site
    answer = site.open(duration_s=SOON_S)
    pids = site.leave_behind(answer["port"])
    os.kill(_closers_pid(site, answer["session"]), signal.SIGKILL)
    # An embedded door stops answering by itself, within the last second; what it left behind goes with the next request.
    wait_until(
        lambda: site.ask({"verb": "status"})["state"] == "shut" and is_shut(site, answer["port"], pids), 15, "the end"
    )
    wait_until(lambda: site.ask({"verb": "status"})["ok"] and set(site.ended()) == {answer["session"]}, 5, "its note")


def test_door_when_its_closer_was_killed_then_closing_still_ends_everything(closing_site: Site) -> None:
    """Closing does not depend on the closer's life."""
    site = closing_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    os.kill(_closers_pid(site, answer["session"]), signal.SIGKILL)
    assert site.ask({"verb": "close", "session": answer["session"]})["ok"]
    assert is_shut(site, answer["port"], pids)


@pytest.mark.feature("E9")
@pytest.mark.threat("login-outlives")
def test_door_when_it_died_then_whoever_asks_how_things_are_finds_nothing_left_of_it(closing_site: Site) -> None:
    """An agent that was killed as well forgets what it was closing: what ran behind the door would stay until its end."""
    site = closing_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    listener = re.search(rb"pid=(\d+)", run(["/bin/ss", "-Hltnp", f"sport = :{answer['port']}"]).stdout)
    assert listener is not None
    os.kill(int(listener[1]), signal.SIGKILL)
    wait_until(lambda: not is_listening(answer["port"]), 5, "the door to be dead")
    assert site.ask({"verb": "status"})["state"] == "shut"
    assert is_shut(site, answer["port"], pids)
    assert site.ended() == []  # a session that is still wanted may go on


def test_runner_when_cleared_at_boot_then_all_is_gone_and_a_fresh_order_opens_again(closing_site: Site) -> None:
    """No door survives a reboot, and the session goes on when the console still wants it."""
    site = closing_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    assert site.as_root("clear").returncode == 0
    assert is_shut(site, answer["port"], pids)
    assert site.ended() == []
    again = site.order(site.envelope(site.body(answer["session"]), revision=site.revision))
    assert again["ok"]


def test_runner_when_files_are_of_another_boot_then_they_are_cleared_and_the_session_may_go_on(site: Site) -> None:
    """Files that a loss of power left behind mean nothing; the promise of another boot is no end."""
    answer = site.open()
    site.as_root("clear")
    folder = site.run_dir / f"door-{answer['session']}"
    folder.mkdir()
    write_whole(folder / "door.json", json.dumps({"port": 1, "closer": "cgroup", "banner": "x"}))
    path = site.state_dir / "promise.json"
    write_whole(path, json.dumps(json.loads(path.read_text()) | {"boot": "a" * 32, "ends_s": 1.0}), 0o600)
    assert site.ask({"verb": "status"})["state"] == "shut"
    assert (site.left_over(), site.ended()) == ([], [])
    assert site.order(site.envelope(site.body(answer["session"]), revision=site.revision))["ok"]


def test_runner_when_one_before_it_was_killed_half_way_then_its_leavings_are_cleared(site: Site) -> None:
    """A folder without a door in it is what a killed runner leaves; it stops nobody."""
    site.ask({"verb": "close", "session": site.open()["session"]})
    stale = site.new_session()
    (site.run_dir / f"door-{stale}").mkdir()
    assert site.ask({"verb": "status"})["state"] == "shut"
    assert site.left_over() == []


def test_door_when_its_end_cannot_be_read_then_it_is_ended(closing_site: Site) -> None:
    """No readable end is an end: a lost file closes, it does not keep open."""
    site = closing_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    write_whole(site.run_dir / f"door-{answer['session']}" / "end", "")
    wait_until(lambda: is_shut(site, answer["port"], pids), 8, "the closer")


@pytest.fixture
def full_disk(site: Site) -> Iterator[Site]:
    """A runner whose state_dir is a file system of its own, so small that a few files fill it."""
    kept = {path.name: path.read_bytes() for path in site.state_dir.iterdir()}
    if run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", site.state_dir]).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        for name, content in kept.items():
            write_whole(site.state_dir / name, content, 0o600)
        yield site
    finally:
        site.as_root("clear")
        run(["/usr/bin/umount", site.state_dir])


def test_door_when_the_disk_is_full_then_closing_works_and_opening_is_refused(full_disk: Site) -> None:
    """What cannot be written down is ended all the same; what cannot be promised does not open."""
    site = full_disk
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    with suppress(OSError), (site.state_dir / "filler").open("wb") as filler:
        filler.write(bytes(100_000))
    assert site.ask({"verb": "close", "session": answer["session"]})["ok"]
    assert is_shut(site, answer["port"], pids)
    refused = site.order(site.envelope(site.body(site.new_session())))
    assert refused["code"] == "runner.failed"
    assert site.left_over() == []


def test_keeper_when_it_is_a_units_main_process_then_it_starts_the_door_and_leaves_at_the_end(
    scratch: Path, programs: Programs
) -> None:
    """Under systemd the unit ends when the keeper does: it notes the session as ended first, then goes."""
    write_whole(scratch / "end", f"{int(_uptime_s()) + 2}\n")
    arguments: list[Any] = [scratch, "s-aaaaaaaaaaaaaaaa", scratch / "ended", "-"]
    keeper = programs.start("/bin/sh", KEEPER, *arguments, "/bin/sh", "-c", "echo door; exec sleep 10", name="keeper")
    keeper.wait_for_log("door")
    wait_until(lambda: not keeper.is_running, 6, "the keeper")
    assert (scratch / "ended").read_text().split() == ["s-aaaaaaaaaaaaaaaa"]
