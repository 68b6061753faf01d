"""What a trial's folder takes with it when it goes, and what not."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.scratch import clean_up, end_marked, scratch_folder

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


@pytest.mark.parametrize("moment", ["made", "opened", "being-cleaned"])
def test_folder_when_another_trial_starts_in_the_same_moment_then_each_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between a folder's making and its lock it looks like one that was left; whoever loses it makes another.

    The other trial comes as soon as the folder is made, or its lock is opened and not held yet; or it is at cleaning still.
    """
    others: list[int] = []

    def hold(opened: int) -> None:
        other = os.open(f"/proc/self/fd/{opened}", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX)
        others.append(other)

    def interrupted(call: Callable[..., Any]) -> Callable[..., Any]:
        def first(*arguments: Any, **named: Any) -> Any:
            came = call(*arguments, **named)
            monkeypatch.undo()
            if moment == "being-cleaned":
                hold(came)
            else:
                assert clean_up(tmp_path)
            return came

        return first

    where, name = (tempfile, "mkdtemp") if moment == "made" else (os, "open")
    monkeypatch.setattr(where, name, interrupted(getattr(where, name)))
    with scratch_folder(tmp_path) as folder:
        for other in others:
            os.close(other)
        assert folder not in clean_up(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
