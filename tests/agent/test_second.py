"""One agent on a state folder, however the one before ended."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.agent.conftest import Scene
from tests.parts.terminal import typed


@pytest.mark.feature("T13")
def test_agent_when_another_runs_then_the_second_says_so_in_its_terminal(running: Scene) -> None:
    """Which process it is and what to do stand there, and the first goes on."""
    first = running.agent
    assert first is not None
    status, shown = typed(sys.executable, "-m", "doorward_agent", "--config", running.config, "run")
    assert (status, f"process {first.pid}:" in shown) == (os.EX_TEMPFAIL, True), shown
    assert "end it first: systemctl stop doorward-agent" in shown
    assert shown.count("\n") == 1
    assert running.status()["running"] is True


@pytest.mark.feature("T13")
@pytest.mark.parametrize("tunnel", ["ssh", "paramiko"])
def test_agent_when_killed_with_its_door_open_then_the_next_one_is_not_taken_for_a_second(running: Scene) -> None:
    """The lock is the kernel's: it goes with the process, and no child keeps it. A pid left in a file means nothing."""
    running.open()
    assert running.agent is not None
    running.agent.signal(signal.SIGKILL)
    running.agent.process.wait(5)
    lock = Path(running.seat.state_dir, "lock")
    assert lock.read_text() == f"{running.agent.pid}\n"
    lock.write_text(f"{os.getpid()}\n")
    next_one = running.start_agent()
    next_one.wait_for(lambda: lock.read_text() == f"{next_one.pid}\n", 20, "its lock")
    running.console.next_ask()
