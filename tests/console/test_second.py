"""One web, one worker, one signer on a host, however the one before ended."""

import os
from pathlib import Path

import pytest
from doorward_console.config import config_from_file
from doorward_console.edges.alone import be_alone

from tests.console.serving import PROCESSES, serves, started
from tests.console.test_init import PROGRAM
from tests.parts.files import write_whole
from tests.parts.processes import Programs, run
from tests.parts.terminal import typed
from tests.parts.waiting import wait_until


@pytest.mark.feature("T13")
@pytest.mark.parametrize("name", PROCESSES)
def test_process_when_another_runs_then_the_second_says_so_and_a_killed_one_is_nobodys_first(
    standing: Path, programs: Programs, name: str
) -> None:
    """The second names the first and what to do, in its terminal; the lock is the kernel's and goes with its holder."""
    first = started(programs, standing, name)
    status, shown = typed(*PROGRAM, "--config", standing, name)
    assert (status, f"process {first.pid}:" in shown) == (os.EX_TEMPFAIL, True), shown
    assert f"Another {name} of this console" in shown
    assert f"end it first: systemctl stop doorward-console@{name}" in shown
    assert first.is_running
    assert serves(name, standing)

    first.kill()
    lock = config_from_file(standing).run_dir / f"{name}.lock"
    assert lock.read_text() == f"{first.pid}\n"
    lock.write_text(f"{os.getpid()}\n")
    assert started(programs, standing, name).is_running
    wait_until(lambda: lock.read_text() not in {"", f"{os.getpid()}\n"}, 5, "the next one's lock")


@pytest.mark.feature("T13")
def test_trial_when_the_console_runs_already_then_serve_ends_and_leaves_it_alone(
    standing: Path, programs: Programs
) -> None:
    """``serve`` is three more processes: none of them takes the place of one that works."""
    first = started(programs, standing, "signer")
    status, shown = typed(*PROGRAM, "--config", standing, "serve", limit_s=40)
    assert (status, "Another signer of this console" in shown) == (1, True), shown
    assert first.is_running
    assert serves("signer", standing)


def test_lock_when_the_run_folder_is_missing_then_the_configuration_is_named(standing: Path, scratch: Path) -> None:
    """After a boot without tmpfiles there is none: 78, and which key to mend."""
    moved = standing.read_text().replace(
        f'run_dir = "{config_from_file(standing).run_dir}"', f'run_dir = "{scratch}/none"'
    )
    done = run([*PROGRAM, "--config", write_whole(scratch / "console.toml", moved), "signer"])
    assert (done.returncode, b"signer.lock cannot be opened" in done.stderr) == (78, True), done.stderr


def test_lock_when_taken_by_several_kinds_then_they_do_not_meet(scratch: Path) -> None:
    """Web, worker and signer stand beside one another."""
    for name in PROCESSES:
        be_alone(name, scratch)
