"""A hook on its bad days: it hangs, forks, floods, stops listening; its runner or its watcher is killed."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.files import scratch_folder, write_whole
from tests.parts.processes import run
from tests.parts.waiting import wait_until
from tests.runner.hook_bench import Bench, own_user, pid_from
from tests.runner.site import is_running

FORKS = {
    "nohup": "nohup sleep 600 >/dev/null 2>&1 & echo $! >pid",
    "setsid": "setsid sh -c 'trap \"\" TERM HUP; echo $$ >pid; sleep 600 & wait' &",
    "twice": "(setsid sh -c 'echo $$ >pid; exec sleep 600' & ) &",
    "with its output": "sleep 600 & echo $! >pid",
    "a long chain": """"$DOORWARD_PYTHON" -ISc '
import fcntl, os, time
held = open("held", "w")
fcntl.flock(held, fcntl.LOCK_EX)
for _ in range(400):
    if os.fork(): os._exit(0)
    os.setsid()
    open("begun", "w").close()
open("pid", "w").write(f"{os.getpid()}\\n")
time.sleep(600)' &""",
}
"""Ways to leave a process behind, each writing its number to ``pid`` in the working folder."""


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Folders of whoever runs the tests."""
    with scratch_folder() as folder:
        yield Bench(folder / "b", own_user()).settle()


@pytest.mark.parametrize("how", FORKS)
def test_hook_when_it_leaves_processes_behind_then_they_end_with_it(bench: Bench, how: str) -> None:
    """The hook's end is the end of all that came of it, and is not waited for longer than it takes."""
    stays = "while [ ! -s pid ]; do sleep 0.01; done" if "chain" not in how else "until [ -e begun ]; do :; done"
    bench.hook("health", f'cd "$DOORWARD_STATE"\n{FORKS[how]}\n{stays}; echo "{{}}"')
    ran = bench.run("health")
    assert (ran["code"], ran["status"], ran["said"], ran["result"]) == (None, 0, "", {})
    assert ran["lasted_ms"] < 10_000
    left = pid_from(bench.state / "pid")
    assert left or _is_free(bench.state / "held")  # held by whichever link of the chain is there
    assert not left or not is_running(left)
    assert not _of_this_hook(bench)


def _of_this_hook(bench: Bench) -> list[int]:
    """Find processes that carry the hook's state folder in their environment, however they came about."""
    mark = f"DOORWARD_STATE={bench.state}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _words(path)]


def _words(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_hook_when_it_hangs_then_it_is_asked_to_end_and_may_tidy_up(bench: Bench) -> None:
    """Its limit is a limit: SIGTERM first, for a half-applied setting can be taken back."""
    bench.hook("settings-apply", "trap 'echo tidy >&2; exit 0' TERM; sleep 600 & wait")
    ran = bench.run("settings-apply", limit_s=0.5)
    assert (ran["code"], ran["status"], ran["said"]) == ("hook.too-slow", 0, "tidy\nIt was ended after 0.5 s.")
    assert 500 <= ran["lasted_ms"] < 3_000
    assert not _of_this_hook(bench)


def test_hook_when_it_does_not_want_to_end_then_it_is_ended(bench: Bench) -> None:
    """Whoever ignores SIGTERM is killed after the grace, with all its descendants."""
    bench.hook("health", "trap '' TERM; setsid sleep 600 & echo begun >&2; while :; do sleep 1; done")
    ran = bench.run("health", limit_s=0.5)
    assert (ran["code"], ran["status"], ran["said"]) == ("hook.too-slow", None, "begun\nIt was ended after 0.5 s.")
    assert 3_500 <= ran["lasted_ms"] < 10_000
    assert not _of_this_hook(bench)


def test_hook_when_it_prints_a_gigabyte_then_neither_memory_nor_record_takes_it(bench: Bench) -> None:
    """Both outputs are cut while they are read; the hook is not stopped in the middle of its work for it."""
    bench.hook(
        "health",
        "head -c 1000000000 /dev/zero; head -c 1000000000 /dev/zero >&2; echo the end >&2; "
        'touch "$DOORWARD_STATE/done"',
    )
    report = bench.report("health", limit_s=40)
    (ran,) = report["answers"]
    assert (ran["code"], ran["status"], ran["result"]) == ("hook.too-much", 0, None)
    assert (len(ran["said"]), "???the end\nIts standard output is longer" in ran["said"]) == (4096, True)
    assert (bench.state / "done").exists()
    assert report["most_kb"] < 60_000


@pytest.mark.parametrize("reads", ["exec 0<&-", "sleep 0.3; cat >/dev/null", "head -c 10 >/dev/null", ""])
def test_hook_when_it_reads_late_or_never_then_nobody_waits_for_it(bench: Bench, reads: str) -> None:
    """A document larger than any pipe holds nobody up."""
    bench.hook("settings-apply", f"{reads}\ntouch \"$DOORWARD_STATE/done\"; printf '{{}}'")
    ran = bench.run("settings-apply", {"arguments": {"settings": "x" * 3_000_000}}, limit_s=10)
    assert (ran["code"], ran["result"]) == (None, {})
    assert ran["lasted_ms"] < 5_000


def test_hook_when_it_closes_its_output_and_goes_on_then_its_end_is_waited_for(bench: Bench) -> None:
    """The end of its output is not its end."""
    bench.hook("health", 'echo first >&2; exec >&- 2>&-; sleep 0.5; touch "$DOORWARD_STATE/done"; exit 75')
    ran = bench.run("health")
    assert (ran["code"], ran["status"], ran["said"]) == ("hook.try-later", 75, "first")
    assert (bench.state / "done").exists()


def test_hook_when_it_changes_while_it_runs_then_what_began_goes_on(bench: Bench) -> None:
    """A shell reads its script as it goes: what was written over it in the middle of its run never counts."""
    go = bench.top / "go"
    wait, padding = f'touch "$DOORWARD_STATE/begun"; until [ -e {go} ]; do sleep 0.01; done', "\n#" * 40_000
    hook = bench.hook("health", f"{wait}{padding}\necho old >&2")
    with bench.running("health") as process:
        wait_until((bench.state / "begun").exists)
        hook.write_text(hook.read_text().replace("old", "new"))  # the same file, in place
        write_whole(go, "")
        assert process.stdout is not None
        assert b'"said": "old"' in process.stdout.read()


def test_watcher_when_it_is_killed_then_its_hook_is_ended_and_the_runner_says_so(bench: Bench) -> None:
    """No hook goes on that nobody watches: its limit would be nobody's."""
    bench.hook("health", 'setsid sleep 600 & echo $PPID >"$DOORWARD_STATE/pid"; wait')
    with bench.running("health") as process:
        watcher = wait_until(lambda: pid_from(bench.state / "pid"))
        os.kill(watcher, signal.SIGKILL)
        assert process.stdout is not None
        said = process.stdout.read()
    assert b'"hook.failed"' in said
    assert b"Whoever watched over it was killed" in said
    assert not _of_this_hook(bench)


def test_runner_when_it_is_killed_then_its_hook_keeps_limit_and_lock(bench: Bench) -> None:
    """Nobody waits for the killed one's answer, no second hook begins beside the first, and the limit is kept."""
    bench.hook("health", 'setsid sleep 600 & echo $$ >"$DOORWARD_STATE/pid"; sleep 600')
    with bench.running("health", limit_s=4) as process:
        hook = wait_until(lambda: pid_from(bench.state / "pid"))
        process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert is_running(hook)
        assert not _is_free(bench.lock)
        wait_until(lambda: _is_free(bench.lock), 10, "the lock")
        assert not _of_this_hook(bench)


def _is_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_hook_when_it_is_quick_then_running_it_costs_little(bench: Bench) -> None:
    """Checks, copy, watcher and clearing away stay below the start of a Python that does nothing: the runner's own takes longer."""
    bench.hook("health", "exit 0")
    answers = bench.report("health", times=20)["answers"]
    began = time.monotonic()
    for _ in range(10):
        run([sys.executable, "-c", "pass"])
    anchor_ms = (time.monotonic() - began) * 100
    assert sorted(ran["lasted_ms"] for ran in answers)[10] < 4 * anchor_ms
