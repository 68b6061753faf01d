"""Doors and hooks as units of the real systemd's: what ends them, what is left of them, and what their end means."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.booted import PARTS, Booted
from tests.parts.files import scratch_folder
from tests.parts.installed import require
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until
from tests.runner.booted_site import BootedSite, installed
from tests.runner.hook_bench import Bench, pid_from

pytestmark = [pytest.mark.real(*PARTS), pytest.mark.timeout(120)]

SOON_S = 3
LIMIT_S = 30


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    """A machine without a network to manage."""
    with scratch_folder() as top:
        programs = Programs(top)
        made = Booted(top / "machine", programs)
        try:
            made.prepare()
            made.power_on()
            yield made
        finally:
            made.cut_power()
            programs.end_all()


@pytest.fixture
def bench(machine: Booted) -> Bench:
    """A runner's half that runs hooks on it, from a folder that the machine shares with us."""
    top = Path(tempfile.mkdtemp(dir=machine.top.parent))
    return Bench(top / "b", "root", machine.entered()).settle()


@pytest.mark.parametrize(
    ("ends", "code", "status"),
    [
        ("exit 0", None, 0),
        ("exit 64", "hook.bad-arguments", 64),
        ("exit 69", "hook.not-possible", 69),
        ("exit 75", "hook.try-later", 75),
        ("exit 1", "hook.failed", 1),
        ("kill -15 $$", "hook.failed", 143),
        ("kill -1 $$", "hook.failed", 129),
        ("kill -9 $$", "hook.failed", 137),
    ],
)
def test_hook_when_systemd_runs_it_then_its_end_means_the_same(
    bench: Bench, ends: str, code: str | None, status: int
) -> None:
    """To systemd a service that SIGTERM ended has done well; a hook has not, and may have done half of it."""
    bench.hook("health", f"cat; echo why >&2; {ends}")
    for _ in range(2):  # at once: of the first unit nothing is left that is in the way
        ran = bench.run("health", {"a": "ü $(id)"})
        assert (ran["code"], ran["status"], ran["result"]) == (code, status, {"a": "ü $(id)"}), ran
        assert ran["said"].startswith("why")


def test_hook_when_systemd_runs_it_then_time_output_and_descendants_have_their_limits(bench: Bench) -> None:
    """As without: neither nohup nor setsid outlives it, a deaf one is killed, and a flood is cut."""
    bench.hook("health", "nohup sleep 600 & setsid sleep 601 & echo $! >$DOORWARD_STATE/left; echo '{}'")
    assert bench.run("health", limit_s=LIMIT_S)["code"] is None
    assert not is_running(bench, pid_from(bench.state / "left"))
    bench.hook("health", "trap '' TERM; echo $$ >$DOORWARD_STATE/left; sleep 600 & wait; wait")
    assert bench.run("health", limit_s=1)["code"] == "hook.too-slow"
    assert not is_running(bench, pid_from(bench.state / "left"))
    bench.hook("health", "head -c 1000000 /dev/zero | tr '\\0' x")
    assert bench.run("health", limit_s=LIMIT_S)["code"] == "hook.too-much"


def is_running(bench: Bench, pid: int) -> bool:
    """Tell whether a process of the machine's is there."""
    return run([*bench.before, "/bin/kill", "-0", str(pid)]).returncode == 0


@pytest.mark.feature("B7")
@pytest.mark.parametrize("next_verb", ["settings-revert", "settings-apply"])
def test_hook_when_everything_of_ours_was_killed_then_it_is_ended_before_the_next_one_runs(
    bench: Bench, next_verb: str
) -> None:
    """Its unit goes on without us: putting back must not run beside what still applies."""
    bench.hook("settings-apply", "echo $$ >$DOORWARD_STATE/first; exec sleep 600")
    with bench.running("settings-apply", limit_s=LIMIT_S) as ours:
        first = wait_until(lambda: pid_from(bench.state / "first"), 20, "the hook")
        for pid in [ours.pid, *descendants(ours.pid)]:
            os.kill(pid, signal.SIGKILL)
    assert is_running(bench, first)
    bench.hook(
        next_verb, f"if kill -0 {first}; then echo '{{\"beside\": true}}'; else echo '{{\"beside\": false}}'; fi"
    )
    assert bench.run(next_verb, limit_s=LIMIT_S)["result"] == {"beside": False}


def test_hook_when_its_watcher_was_killed_then_it_is_ended_as_the_runner_says(bench: Bench) -> None:
    """Whoever is in between takes the pipes along, not the unit."""
    bench.hook("settings-apply", "echo $$ >$DOORWARD_STATE/first; exec sleep 600")
    with bench.running("settings-apply", limit_s=LIMIT_S) as ours:
        first = wait_until(lambda: pid_from(bench.state / "first"), 20, "the hook")
        _, watcher, *_ = descendants(ours.pid)
        os.kill(watcher, signal.SIGKILL)
        assert ours.stdout is not None
        (answer,) = json.loads(ours.stdout.read())["answers"]
    assert answer["said"] == "Whoever watched over it was killed, and so it was ended."
    assert not is_running(bench, first)


def descendants(pid: int) -> list[int]:
    """Name whatever came of a process, from what the kernel says of each thread's children."""
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(found for child in children for found in descendants(child))]


@pytest.fixture
def site() -> Iterator[BootedSite]:
    """The runner on a machine of its own, with its units."""
    with scratch_folder() as top:
        programs = Programs(top)
        made = Booted(top / "machine", programs)
        try:
            made.prepare()
            made.power_on()
            yield installed(made, top)
        finally:
            made.cut_power()
            programs.end_all()


def log_in(site: BootedSite, port: int) -> set[int]:
    """Leave processes running behind the door, as somebody who wants them to stay, and give their ids on the machine."""
    words = "nohup sleep 600 >/dev/null 2>&1 & echo $!; setsid sleep 601 >/dev/null 2>&1 & echo $!; sleep 0.2"
    target = ["-p", str(port), f"{site.login_user}@127.0.0.1", words]
    ran = run([*site.on.entered(), require("ssh"), *site.ssh_options(), *target])
    assert ran.returncode == 0, ran.stderr.decode()
    return {int(word) for word in ran.stdout.split()}


def are_gone(site: BootedSite, pids: set[int]) -> bool:
    """Tell whether neither a session's unit nor one of its processes is left."""
    units = site.on.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "doorward-door-*")
    return not units and not any(site.on.run("kill", "-0", str(pid)).returncode == 0 for pid in pids)


@pytest.mark.feature("E5", "B4")
@pytest.mark.threat("login-outlives", "agent-killed")
@pytest.mark.real("sshd", "ssh")
@pytest.mark.parametrize("end", ["closed", "over", "keeper killed"])
def test_door_when_systemd_started_it_then_nothing_is_left_after_its_end(site: BootedSite, end: str) -> None:
    """Closed by an order; at its time, with nobody of ours alive; and where who would have ended it was killed."""
    answer = site.open(duration_s=SOON_S if end == "over" else 600)
    assert answer["closer"] == "systemd"
    pids = log_in(site, answer["port"])
    unit = f"doorward-door-{answer['session']}.service"
    wall = site.on.must("systemctl", "show", "--property=RuntimeMaxUSec,KillMode,KillSignal,OOMPolicy", unit)
    assert set(wall.split()) == {"RuntimeMaxUSec=8h", "KillMode=control-group", "KillSignal=9", "OOMPolicy=continue"}
    if end == "closed":
        assert site.ask({"verb": "close", "session": answer["session"]})["ok"]
        assert are_gone(site, pids)
    elif end == "keeper killed":
        keeper = site.on.must("systemctl", "show", "--value", "--property=MainPID", unit).strip()
        site.on.must("kill", "-9", keeper)
    wait_until(lambda: are_gone(site, pids), 30, "the end of everything behind the door")
    assert site.ask({"verb": "status"})["state"] == "shut"
    assert list(site.on.inside("/run/doorward-runner").glob("door-*")) == []
    ended = site.on.inside("/var/lib/doorward-runner/ended")
    noted = ended.read_text().split() if ended.exists() else []
    assert noted == (
        [] if end == "keeper killed" else [answer["session"]]
    )  # killed early: it is still wanted, and may go on
