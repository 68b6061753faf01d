"""The agent's side of the runner: what it starts for an order, and what becomes of that."""

import queue
import socket
from pathlib import Path

import pytest
from doorward_agent.config import Config
from doorward_agent.edges.listeners import has_listener
from doorward_agent.edges.runner import RunnerEdge
from doorward_agent.events import DoorClosed, Event, RunnerReported
from doorward_protocol.ids import SessionId

from tests.parts.waiting import wait_until

ANSWERS = """#!/bin/sh
read request
echo '{"ok": true, "state": "shut"}'
exec >/dev/null
sleep 0.2
"""
"""Answers first and ends a moment later, as the runner does."""


@pytest.mark.feature("E9")
def test_runner_when_it_answered_and_ended_then_it_is_seen_off_before_the_next_order(tmp_path: Path) -> None:
    """No process without a session: not even a dead one stays until the next order."""
    program = tmp_path / "a-runner"
    program.write_text(ANSWERS)
    program.chmod(0o755)
    heard: queue.Queue[Event] = queue.Queue()
    edge = RunnerEdge(Config(runner="command", runner_command=(str(program),)), heard.put)
    edge.report()
    heard.get(timeout=20)
    try:
        wait_until(lambda: not children_named("a-runner"), 10, "the runner to be seen off")
    finally:
        edge.stop()


SLOW = """#!/bin/sh
read request
while [ ! -e {go} ]; do sleep 0.02; done
echo '{{"ok": true, "state": "shut"}}'
"""


@pytest.mark.feature("E9")
def test_runner_when_it_does_not_answer_then_looks_at_it_do_not_pile_up(tmp_path: Path) -> None:
    """A door that died is asked after every ten seconds, and a runner may take thirty for each: one look waits for another."""
    program, go = tmp_path / "a-runner", tmp_path / "go"
    program.write_text(SLOW.format(go=go))
    program.chmod(0o755)
    heard: queue.Queue[Event] = queue.Queue()
    edge = RunnerEdge(Config(runner="command", runner_command=(str(program),)), heard.put)
    try:
        edge.report()
        wait_until(lambda: children_named("a-runner"), 10, "the runner at work")
        for _ in range(100):
            edge.report()
        edge.close_door(SessionId("s-" + "a" * 16))
        go.touch()
        told = [heard.get(timeout=20) for _ in range(3)]
        assert [type(one) for one in told] == [RunnerReported, RunnerReported, DoorClosed]
        edge.report()
        assert isinstance(heard.get(timeout=20), RunnerReported)
    finally:
        go.touch()
        wait_until(lambda: not children_named("a-runner"), 20, "the runner to be seen off")
        edge.stop()


@pytest.mark.feature("E9")
def test_listener_when_it_is_there_gone_or_cannot_be_seen_then_that_is_said(tmp_path: Path) -> None:
    """A port that only connects or waits is none that listens; where the kernel does not say, nothing is suspected."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert has_listener(port)
        visitor = socket.create_connection(("127.0.0.1", port))
        visitors_port = visitor.getsockname()[1]
        assert not has_listener(visitors_port)
    assert not has_listener(port)
    visitor.close()
    assert has_listener(port, tmp_path / "no proc here")


def children_named(name: str) -> list[str]:
    """List this process's children of that name, dead ones too."""
    pids = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in pids if name_of(pid) == name]


def name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # gone since it was listed
        return ""
