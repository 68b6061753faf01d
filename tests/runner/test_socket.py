"""The runner behind a socket, started once for each connection as its shipped units do it, and asked by the agent's own code."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.parts.ports import free_port, is_listening
from tests.parts.processes import run
from tests.parts.waiting import wait_until
from tests.runner.conftest import Users, uid_of
from tests.runner.programs import RUNNER
from tests.runner.site import BANNER, Site

AS_AGENT: Final = """
import dataclasses, json, os, pwd, queue, sys
from pathlib import Path
from doorward_agent.config import Config
from doorward_agent.edges.runner import RunnerEdge
account = pwd.getpwnam(sys.argv[1])
os.setgroups([]); os.setresgid(*[account.pw_gid] * 3); os.setresuid(*[account.pw_uid] * 3)
heard = queue.Queue()
edge = RunnerEdge(Config(runner="socket", runner_socket=Path(sys.argv[2])), heard.put)
verb, session = sys.argv[3:5]
if verb == "open":
    edge.open_door(session, sys.stdin.buffer.read(), int(sys.argv[5]))
elif verb == "close":
    edge.close_door(session)
else:
    edge.report()
said = heard.get(timeout=40)
print(json.dumps([type(said).__name__, dataclasses.asdict(said)]))
"""
"""Becomes another user for good after loading: the tests' interpreter may stand where that user cannot start it."""


def ask_as(user: str, path: Path, verb: str, session: str = "", *, port: int = 0, order: bytes = b"") -> Any:
    """Ask the runner through the agent's edge, as ``user``; gives the event's name and its fields."""
    ran = run([sys.executable, "-c", AS_AGENT, user, path, verb, session, str(port)], stdin=order)
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


def test_runner_when_behind_its_socket_then_the_agent_opens_sees_and_closes_a_door(
    site: Site, runner_socket: Path
) -> None:
    """Order, status and close go over the socket, each to a runner of its own; an engineer gets in meanwhile and not after."""
    session, port, agent = site.new_session(), free_port(), site.agent_user
    _, shut = ask_as(agent, runner_socket, "status")
    assert (shut["session"], shut["port"], shut["code"]) == (None, None, None)
    order = json.dumps(site.envelope(site.body(session))).encode()
    name, opened = ask_as(agent, runner_socket, "open", session, port=port, order=order)
    assert (name, opened["session"], opened["port"]) == ("DoorOpened", session, port), opened
    assert opened["facts"] == {"door": "sshd", "shares_user": False}
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        assert stream.makefile("rb").readline().rstrip().endswith(f"doorward-{BANNER}".encode())
    ran = site.ssh(port, "id -un")
    assert ran.stdout.decode().split() == [site.login_user], ran.stderr.decode()
    _, reported = ask_as(agent, runner_socket, "status")
    assert (reported["session"], reported["port"]) == (session, port)
    assert ask_as(agent, runner_socket, "close", session) == ["DoorClosed", {"session": session}]
    wait_until(lambda: not is_listening(port), 5, "the port to be closed")
    assert site.left_over() == []
    name, refused = ask_as(agent, runner_socket, "open", session, port=free_port(), order=order)
    assert name == "DoorFailed", refused


@pytest.mark.parametrize(
    ("mode", "agent_user"),
    [(None, None), (0o666, None), (0o666, "dw-nobody-is-called-so")],
    ids=["shipped", "for-everyone", "for-everyone-without-an-agent"],
)
def test_runner_when_another_user_comes_to_its_socket_then_it_is_refused(
    site: Site, runner_socket: Path, users: Users, mode: int | None, agent_user: str | None
) -> None:
    """The socket's mode keeps everybody but the agent out; were it open to all, the runner still asks the kernel who it is."""
    if mode is not None:
        runner_socket.chmod(mode)
    if agent_user is not None:
        site.configure(agent_user=agent_user)
    order = json.dumps(site.envelope(site.body(site.new_session()))).encode()
    port = free_port()
    name, refused = ask_as(users.login, runner_socket, "open", site.sessions[-1], port=port, order=order)
    assert (name, refused["code"]) == ("DoorFailed", "runner.unavailable"), refused
    assert not is_listening(port)
    assert site.left_over() == []


def test_socket_when_shipped_then_only_the_agents_user_may_connect(runner_socket: Path, site: Site) -> None:
    """Owner and mode of the unit leave nobody but root and the agent."""
    found = runner_socket.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid_of(site.agent_user), 0o600)


def test_runner_when_its_standard_input_is_a_network_connection_then_it_answers_nobody(site: Site) -> None:
    """Were its unit told to listen on TCP, the kernel could not say who is at the other end: then it is nobody."""
    ask = b'{"verb":"status"}\n'
    with socket.create_server(("127.0.0.1", 0)) as listening:
        caller = socket.create_connection(listening.getsockname())
        over_tcp, _ = listening.accept()
    ends = [socket.socketpair(), (caller, over_tcp)]
    statuses, answered = [], []
    for caller, runner in ends:
        with caller, runner:
            caller.sendall(ask)
            ran = subprocess.run(
                [RUNNER, "--config", site.config], stdin=runner.fileno(), capture_output=True, timeout=30, check=False
            )
            statuses.append(ran.returncode)
            answered.append(bool(ran.stdout))
    assert (statuses, answered) == ([0, os.EX_NOPERM], [True, False])
