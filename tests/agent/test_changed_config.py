"""A configuration that is edited while the agent runs: it goes by what it read when it started, and whoever asks is told so."""

import json
import sys

import pytest

from tests.agent.conftest import Scene
from tests.parts.processes import run
from tests.parts.waiting import wait_until

CHANGED = "that has changed since: restart the agent"
TABLE = '\n[forwards]\ndatabase = "tcp:127.0.0.1:1"\n'


def said(scene: Scene, *words: str) -> str:
    ran = run([sys.executable, "-m", "doorward_agent", "--config", scene.config, *words])
    return ran.stdout.decode()


@pytest.mark.feature("R6")
def test_config_when_edited_while_the_agent_runs_then_status_and_forwards_say_that_it_has_to_be_restarted(
    running: Scene,
) -> None:
    """The offer that went out is the old one; a comment changes nothing; after a restart all is said to be well."""
    text = running.config.read_text()
    for added, is_changed in (("", False), ("# a comment\n", False), (TABLE, True)):
        running.config.write_text(text + added)
        shown = [said(running, "status"), said(running, "forwards"), said(running, "forwards", "database")]
        assert [CHANGED in one for one in shown] == [is_changed] * 3, (added, shown)
        assert running.status()["config_changed"] is is_changed
    assert "database" in said(running, "forwards")
    assert running.agent is not None
    running.agent.end()
    assert running.status()["config_changed"] is False  # nobody goes by the old one any more
    running.start()
    wait_until(lambda: running.status()["running"], 20, "the agent")
    assert CHANGED not in said(running, "status") + said(running, "forwards")
    assert json.loads(said(running, "status", "--json"))["config_changed"] is False
