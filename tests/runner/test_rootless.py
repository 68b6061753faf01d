"""The runner without root: an ordinary user's own door, in a folder with spaces in its name, and said to be so."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.parts.ordinary import as_ordinary
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import run
from tests.runner.conftest import Users
from tests.runner.programs import RUNNER
from tests.runner.site import Site, is_shut

pytestmark = pytest.mark.real("root")
"""Only so that there are two users: the runner itself is an ordinary one here."""


@pytest.mark.feature("E3")
def test_door_when_rootless_then_its_user_logs_in_and_the_answer_says_whose_it_is(rootless_site: Site) -> None:
    """No root anywhere, a folder below /tmp with spaces in its name, and the answer marks that the agent's user is shared."""
    site = rootless_site
    known = site.certify_host_key("d-aaaaaaaaaaaaaaaa")
    answer = site.open()
    assert (answer["door"], answer["shares_user"], answer["closer"]) == (site.door, True, "subreaper")
    strict = (
        "-o",
        "HostKeyAlias=d-aaaaaaaaaaaaaaaa",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f'UserKnownHostsFile="{known}"',
    )
    ran = site.ssh(answer["port"], 'id -un; echo "$DOORWARD_DOOR"', first=strict)
    folder = site.run_dir / f"door-{answer['session']}"
    assert ran.stdout.decode().splitlines() == [site.login_user, str(folder)], ran.stderr.decode()
    status = site.ask({"verb": "status"})
    assert (status["session"], status["door"], status["shares_user"]) == (answer["session"], site.door, True)


@pytest.mark.threat("login-outlives")
def test_door_when_rootless_and_closed_then_nothing_that_was_started_behind_it_is_left(rootless_site: Site) -> None:
    """The subreaper needs no right either: nohup and setsid end with the session."""
    site = rootless_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    assert site.ask({"verb": "close", "session": answer["session"]})["ok"]
    assert is_shut(site, answer["port"], pids)
    assert site.ended() == [answer["session"]]


def test_door_when_root_gives_the_login_its_own_user_then_the_answer_says_so(site: Site) -> None:
    """The mark is about what is, not about a setting."""
    answer = site.open()
    assert (answer["door"], answer["shares_user"]) == ("sshd", False)


@pytest.mark.parametrize("who", ["the agent's", "root"])
def test_runner_when_rootless_and_login_user_is_another_then_it_exits_78(
    rootless_site: Site, users: Users, who: str
) -> None:
    """An ordinary user can open its own account only, and root has no use for the mode: both are mistakes to mend."""
    site = rootless_site
    if who == "root":
        site.is_rootless = False  # for the caller only
    site.configure(login_user=users.agent, rootless=True)
    ran = site.as_root()
    assert (ran.returncode, ran.stdout) == (78, b"")
    assert (b"rootless" if who == "root" else site.login_user.encode()) in ran.stderr
    site.is_rootless = True
    site.configure()


def test_runner_when_ordinary_and_not_rootless_then_it_exits_77(rootless_site: Site) -> None:
    """The safe choice is the default: without the key an ordinary user's runner does nothing."""
    rootless_site.configure(rootless=False)
    ran = rootless_site.as_root(stdin=b'{"verb":"status"}\n')
    assert (ran.returncode, ran.stdout) == (77, b"")
    assert b"rootless = true" in ran.stderr
    rootless_site.configure()


def test_runner_when_its_folder_is_open_to_others_then_it_exits_78(rootless_site: Site) -> None:
    """Whoever may write there could pin a key."""
    rootless_site.state_dir.chmod(0o777)
    ran = rootless_site.as_root(stdin=b'{"verb":"status"}\n')
    assert (ran.returncode, ran.stdout) == (78, b"")
    rootless_site.state_dir.chmod(0o700)


def test_runner_when_rootless_then_refusals_are_the_same(rootless_site: Site) -> None:
    """Second check, nonces and revisions hold: an order handed over again opens nothing."""
    site = rootless_site
    site.ask({"verb": "status"})
    envelope = site.envelope(site.body(site.new_session()))
    opened = site.order(envelope)
    assert opened["ok"]
    assert site.order(envelope)["code"] == "order.stale-nonce"
    site.ask({"verb": "close", "session": opened["session"]})
    assert not is_listening(opened["port"])
    again = site.envelope(site.body(opened["session"]), revision=site.revision)
    assert site.order(again)["code"] == "order.session-ended"
    assert json.loads((site.state_dir / "promise.json").read_text())["revision"] == site.revision


@pytest.mark.real("unshare")
@pytest.mark.parametrize("door", ["auto"])
@pytest.mark.parametrize(("terminals", "kind"), [("gid=5,mode=620", "sshd"), ("mode=600", "embedded")])
def test_door_when_rootless_and_any_will_do_then_it_is_one_that_can_give_terminals(
    rootless_site: Site, terminals: str, kind: str
) -> None:
    """sshd without root cannot make a terminal tty's: where /dev/pts does not by itself, ours is chosen, and can."""
    site = rootless_site
    site.terminals = terminals
    answer = site.open()
    assert answer["door"] == kind
    shell = site.ssh(answer["port"], "tty", "-tt")
    assert (shell.returncode, shell.stdout.startswith(b"/dev/pts/")) == (0, True), shell.stderr.decode()


AS_AGENT: Final = """
import dataclasses, json, queue, sys
from pathlib import Path
from doorward_agent.config import Config
from doorward_agent.edges.runner import RunnerEdge
heard = queue.Queue()
edge = RunnerEdge(Config(runner="command", runner_command=(sys.argv[1], "--config", sys.argv[2])), heard.put)
session = sys.argv[3]
edge.open_door(session, sys.stdin.buffer.read(), int(sys.argv[4]))
edge.report()
edge.close_door(session)
for _ in range(3):
    said = heard.get(timeout=40)
    print(json.dumps([type(said).__name__, dataclasses.asdict(said)]))
"""


def test_agent_when_its_runner_is_a_command_then_it_opens_sees_and_closes_a_door(rootless_site: Site) -> None:
    """The mechanism of sudo without sudo, by an ordinary user, from a folder with spaces in its name; the mark comes along."""
    site = rootless_site
    site.ask({"verb": "status"})
    session, port = site.new_session(), free_port()
    order = json.dumps(site.envelope(site.body(session))).encode()
    agent: list[str | Path] = [*as_ordinary(site.login_user), RUNNER.with_name("python"), "-c", AS_AGENT]
    ran = run([*agent, RUNNER, site.config, session, str(port)], stdin=order)
    assert ran.returncode == 0, ran.stderr.decode()
    (_, opened), (_, seen), last = (json.loads(line) for line in ran.stdout.splitlines())
    assert opened["facts"] == seen["facts"] == {"door": site.door, "shares_user": True}
    assert (opened["port"], seen["session"], last) == (port, session, ["DoorClosed", {"session": session}])
    assert site.left_over() == []
