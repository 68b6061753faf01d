"""The agent under systemd: what it says, and when."""

import os
import secrets
import shutil
import sys
from contextlib import closing

import pytest
from doorward_protocol.orders import ShutDoor

from tests.agent.conftest import Scene
from tests.parts.confined import as_unit
from tests.parts.ordinary import as_ordinary
from tests.parts.supervision import Init, must_obey_a_watchdog

USER = "daemon"
"""An ordinary user whom every Debian has."""


@pytest.mark.feature("E9")
@pytest.mark.real("systemd-analyze")
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_agent_when_its_loop_hangs_then_systemd_hears_no_more_of_it(scene: Scene, kind: str) -> None:
    """Ready once the loop runs, alive in time while it turns, silent while it hangs, and a word when it ends."""
    address = scene.folder / "notify" if kind == "path" else f"@doorward-test-{secrets.token_hex(8)}"
    with closing(Init(address)) as init:
        argv = as_unit("doorward-agent", sys.executable, "-m", "doorward_agent", "--config", scene.config, "run")
        scene.agent = scene.programs.start(*argv, name="agent", env=init.environment)
        must_obey_a_watchdog(init, scene.agent, lambda: bool(scene.status()["running"]))


@pytest.mark.real("systemd-analyze")
@pytest.mark.parametrize("tunnel", ["ssh", "paramiko"])
def test_agent_when_confined_as_its_unit_says_then_it_opens_and_shuts(scene: Scene) -> None:
    """No system call that agent, ssh or the library's tunnel needs of an ordinary user is among those that the unit takes away."""
    give_to(USER, scene)
    argv = as_unit("doorward-agent", sys.executable, "-m", "doorward_agent", "--config", scene.config, "run")
    scene.agent = scene.programs.start(*as_ordinary(USER), *argv, name="agent")
    scene.console.next_ask()
    body = scene.open()
    scene.console.publish(scene.console.order(ShutDoor(body.session)))
    scene.console.wait_for_state("SHUT")
    assert "not permitted" not in scene.log()


def give_to(user: str, scene: Scene) -> None:
    """Make the device's files a user's, as they are on a device."""
    scene.runner.path.chmod(0o666)
    for path in (scene.seat.state_dir, *scene.seat.state_dir.rglob("*")):
        if os.geteuid() == 0:
            shutil.chown(path, user)
