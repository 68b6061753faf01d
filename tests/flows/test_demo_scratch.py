"""What a trial's folder takes with it when it goes, and what not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.scratch import clean_up, end_marked, scratch_folder

from tests.house.machine import CHECKOUT
from tests.parts.waiting import wait_until

CLOSER = """
import ctypes, subprocess, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.run(["/usr/bin/env", "-i", "/usr/bin/setsid", "--fork", "/bin/sh", "-c", "echo $$ >&3; exec sleep 600"], close_fds=False)
time.sleep(600)
"""
"""As a door's closer: it adopts what an engineer leaves behind, which carries nothing by which it could be known."""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Programs that are ended whatever becomes of the test."""
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for one in made:
        one.kill()
        one.wait(10)


def test_folder_when_it_goes_then_an_engineers_stray_goes_with_the_doors_closer(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """A process without parent, session or environment of ours is still the door's, as long as its closer lives."""
    told = tmp_path.parent / "stray"
    opened = ["/bin/sh", "-c", 'exec "$@" 3>"$0"', str(told), sys.executable, "-c", CLOSER, str(tmp_path)]
    started.append(subprocess.Popen(opened))
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"), 10, "the stray")
    stray = Path("/proc", told.read_text().strip())
    assert stray.exists()
    end_marked(tmp_path)
    wait_until(lambda: not stray.exists(), 5, "the stray to be gone")
    assert started[0].wait(5) in {-9, 0}  # 0: whoever cleaned up has also seen it off


def test_folder_when_it_goes_then_a_session_of_the_relays_sshd_goes_whose_master_is_dead(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """It hangs, names the folder nowhere, and is nobody's child any more; its log is the relay's."""
    with (tmp_path / "relay.log").open("wb") as log:
        started.append(subprocess.Popen(["/bin/sleep", "600"], cwd="/", env={}, stderr=log))
    end_marked(tmp_path)
    assert started[0].wait(5) in {-9, 0}


def test_folder_when_it_goes_then_a_shell_that_only_stands_in_it_stays(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """Somebody who looks around in the folder has its name in PWD, and keeps the terminal."""
    started.append(subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path, env={"PWD": str(tmp_path)}))
    end_marked(tmp_path)
    assert started[0].poll() is None


def test_folder_when_trials_start_in_the_same_moment_then_none_takes_anothers_for_a_killed_ones(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """Between a folder's making and its lock it looks like one that was left; whoever loses it makes another."""
    other = [sys.executable, "-c", OTHERS, str(tmp_path)]
    started.extend(subprocess.Popen(other, env={"PYTHONPATH": str(CHECKOUT / "examples")}) for _ in range(2))
    wait_until((tmp_path / "started").exists, 10, "others")
    for _ in range(20):
        with scratch_folder(tmp_path) as folder:
            clean_up(tmp_path)
            assert folder.is_dir()
    for one in started:
        one.kill()
        one.wait(10)
    clean_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["started"]


OTHERS = """
import sys
from pathlib import Path
from demo.scratch import clean_up
above = Path(sys.argv[1])
(above / "started").touch()
while True:
    clean_up(above)
"""
"""Trials that start, as often as they can."""
