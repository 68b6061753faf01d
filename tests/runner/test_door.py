"""The door itself: who gets in, what goes through, what does not, and what is refused before it opens."""

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
from doorward_runner.edges import files
from doorward_runner.errors import Refused

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import Programs, run
from tests.parts.sshd import make_ssh_key
from tests.parts.waiting import wait_until
from tests.protocol.cast import NOW
from tests.runner.site import BANNER, Site, is_running

SLOW_S = 2.5
"""Longer than a door is waited for that is only looked at."""


@pytest.mark.feature("E3", "E4")
def test_door_when_opened_then_login_user_gets_a_shell_with_the_key(door_site: Site) -> None:
    """One order, and the engineer's key opens one account, on loopback, under the session's banner."""
    site = door_site
    answer = site.open()
    assert answer == answer | {"state": "open", "closer": "cgroup", "ended": None, "session": site.sessions[0]}
    ran = site.ssh(answer["port"], "id -un; echo $DOORWARD_DOOR")
    assert ran.stdout.decode().split() == [site.login_user, str(site.run_dir / f"door-{site.sessions[0]}")]
    with socket.create_connection(("127.0.0.1", answer["port"]), timeout=5) as stream:
        assert stream.makefile("rb").readline().rstrip().endswith(f"doorward-{BANNER}".encode())
    status = site.ask({"verb": "status"})
    assert (status["state"], status["session"], status["port"]) == ("open", answer["session"], answer["port"])


@pytest.mark.threat("login-other-user")
def test_door_when_open_then_other_users_and_other_keys_are_refused(door_site: Site) -> None:
    """No other account, no other key, no password."""
    site = door_site
    answer = site.open()
    make_ssh_key(site.folder / "stranger")
    for key, user in ((site.folder / "stranger", site.login_user), (site.key, "root"), (site.key, site.agent_user)):
        options = [*site.ssh_options(), "-i", str(key), "-o", "IdentityAgent=none"]
        options[options.index(str(site.key))] = str(key)
        ran = run([require("ssh"), *options, "-p", str(answer["port"]), f"{user}@127.0.0.1", "id"])
        assert (ran.returncode, ran.stdout) == (255, b"")


@pytest.mark.feature("E4")
def test_door_when_scp_and_sftp_are_used_then_files_go_through(door_site: Site) -> None:
    """Engineers' everyday programs work unchanged."""
    site = door_site
    answer = site.open()
    there = f"/home/{site.login_user}/carried"
    local = write_whole(site.folder / "carried", os.urandom(100_000))
    options = [*site.ssh_options(), "-P", str(answer["port"])]
    sent = run([require("sftp").with_name("scp"), *options, local, f"{site.login_user}@127.0.0.1:{there}"])
    assert sent.returncode == 0, sent.stderr.decode()
    batch = f"get {there} {site.folder}/back\nrm {there}\n".encode()
    fetched = run([require("sftp"), *options, "-b", "-", f"{site.login_user}@127.0.0.1"], stdin=batch)
    assert fetched.returncode == 0, fetched.stderr.decode()
    assert (site.folder / "back").read_bytes() == local.read_bytes()


def test_door_when_forwarding_is_asked_then_every_kind_is_refused(door_site: Site, programs: Programs) -> None:
    """A door is a way in and no way through: no -L, -R, -D, -W, stream-local, agent, X11 or tunnel."""
    site = door_site
    answer = site.open()
    port = answer["port"]
    agent = site.ssh(port, "echo ${SSH_AUTH_SOCK:-none} ${DISPLAY:-none}", "-A", "-X", "-o", "ForwardX11Trusted=yes")
    assert agent.stdout.split() == [b"none", b"none"]
    assert (
        site.ssh(port, "true", "-o", "ExitOnForwardFailure=yes", "-R", f"{free_port()}:127.0.0.1:22").returncode == 255
    )
    assert (
        site.ssh(port, "true", "-o", "ExitOnForwardFailure=yes", "-R", "/tmp/doorward.sock:127.0.0.1:22").returncode
        == 255
    )
    assert site.ssh(port, "true", "-w", "any", "-o", "ExitOnForwardFailure=yes").returncode != 0
    through = run(
        [
            require("ssh"),
            *site.ssh_options(),
            "-p",
            str(port),
            "-W",
            f"127.0.0.1:{port}",
            f"{site.login_user}@127.0.0.1",
        ]
    )
    assert (through.returncode, through.stdout) == (255, b"")
    local = free_port()
    forward = ["-N", "-L", f"{local}:127.0.0.1:{port}", "-p", str(port), f"{site.login_user}@127.0.0.1"]
    client = programs.start(require("ssh"), *site.ssh_options(), *forward, name="ssh-L")
    client.wait_for_port(local)
    with socket.create_connection(("127.0.0.1", local), timeout=5) as stream:
        assert stream.recv(100) == b""


@pytest.mark.threat("agent-reads-session")
def test_door_when_engineer_works_then_agents_user_sees_nothing_of_it(door_site: Site) -> None:
    """Memory, descriptors and environment of the session are another user's; the door's host key is root's."""
    site = door_site
    answer = site.open()
    pids = site.leave_behind(answer["port"])
    folder = site.run_dir / f"door-{answer['session']}"
    hidden = [f"/proc/{pid}/{name}" for pid in pids for name in ("environ", "mem", "maps")]
    config = "sshd_config" if site.door == "sshd" else "embedded.json"
    hidden += [str(site.state_dir / "door_host_key"), str(folder / config), str(folder / "door.json")]
    for path in hidden:
        assert run(["/usr/bin/head", "-c", "1", path], user=site.agent_user).returncode != 0, path
        assert Path(path).exists()
    for pid in pids:
        assert run(["/bin/ls", f"/proc/{pid}/fd"], user=site.agent_user).returncode != 0
        assert run(["/bin/kill", "-0", str(pid)], user=site.agent_user).returncode != 0
    for name in ("end", "authorized_keys"):
        assert run(["/usr/bin/tee", folder / name], stdin=b"x", user=site.agent_user).returncode != 0


def test_door_when_user_has_an_rc_file_then_it_is_not_run(door_site: Site) -> None:
    """PermitUserRC and PermitUserEnvironment are off: nothing that an engineer left behind runs at the next log-in."""
    site = door_site
    answer = site.open()
    site.ssh(answer["port"], "mkdir -p .ssh; echo 'touch ~/ran' > .ssh/rc; echo LEFT=1 > .ssh/environment; rm -f ran")
    ran = site.ssh(answer["port"], "ls; echo ${LEFT:-unset}; rm -rf .ssh")
    assert b"ran" not in ran.stdout
    assert b"unset" in ran.stdout


@pytest.mark.feature("B3")
@pytest.mark.threat("relay-poses")
def test_door_when_host_key_is_certified_then_ssh_accepts_it_by_its_authority(door_site: Site) -> None:
    """The known_hosts line that the console prints is enough: the door proves that it is this device's."""
    site = door_site
    device = "d-aaaaaaaaaaaaaaaa"
    known = site.certify_host_key(device)
    port = site.open()["port"]
    strict = ["-F", "none", "-i", str(site.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    strict += ["-o", f"UserKnownHostsFile={known}", "-p", str(port)]
    for alias, status in ((device, 0), ("d-bbbbbbbbbbbbbbbb", 255)):
        ran = run([require("ssh"), *strict, "-o", f"HostKeyAlias={alias}", f"{site.login_user}@127.0.0.1", "true"])
        assert ran.returncode == status, ran.stderr.decode()


def test_door_when_order_is_signed_again_then_the_same_door_is_named(door_site: Site) -> None:
    """Equal revision and digest: what is there is left alone, on its port, whatever port the agent picks."""
    site = door_site
    first = site.open()
    again = site.order(site.envelope(site.body(first["session"]), revision=site.revision))
    assert again == first


@pytest.mark.real("ip")
def test_door_when_it_is_slow_to_answer_at_an_extension_then_who_is_logged_in_stays(door_site: Site) -> None:
    """A busy device's door may take seconds to show its banner: it is there, and is not started anew."""
    site = door_site
    first = site.open(duration_s=300)
    port, pids = first["port"], site.leave_behind(first["port"])
    listener = re.search(rb"pid=(\d+)", run(["/bin/ss", "-Hltnp", f"sport = :{port}"]).stdout)
    assert listener is not None
    longer = site.envelope(site.body(first["session"], 600))
    os.kill(int(listener[1]), signal.SIGSTOP)
    going_on = threading.Timer(SLOW_S, os.kill, (int(listener[1]), signal.SIGCONT))
    going_on.start()
    again = site.order(longer)
    going_on.join()
    assert again == first
    assert all(is_running(pid) for pid in pids)


def test_door_when_its_sshd_died_then_the_same_order_opens_it_again(site: Site) -> None:
    """What is wanted and not there is done, for no longer than was promised."""
    first = site.open(duration_s=300)
    promised = (site.state_dir / "promise.json").read_text()
    listening = site.ssh(first["port"], "ps -o ppid= -p $(ps -o ppid= -p $(ps -o ppid= -p $$))").stdout
    os.kill(int(listening), 9)
    wait_until(lambda: not is_listening(first["port"]))
    assert site.ask({"verb": "status"})["state"] == "shut"
    again = site.order(site.envelope(site.body(first["session"], 300), revision=site.revision))
    assert (again["ok"], again["session"]) == (True, first["session"])
    assert site.ssh(again["port"], "true").returncode == 0
    assert (site.state_dir / "promise.json").read_text() == promised


@pytest.mark.feature("E9", "B9")
def test_door_when_the_consoles_clock_was_an_hour_ahead_and_is_right_again_then_it_opens(site: Site) -> None:
    """The runner knows when its nonce was made: what was said to be an hour later is not the time now."""
    ahead = NOW + 3_600_000
    site.ask({"verb": "status"})
    first = site.order(site.envelope(site.body(site.new_session(), ends_at=ahead + 600_000), issued_at=ahead))
    assert first["ok"], first
    assert site.order(site.envelope(json.dumps({"state": "shut", "session": None}), issued_at=ahead))["ok"]
    again = site.order(site.envelope(site.body(site.new_session())))
    assert again["ok"], again
    promised = json.loads((site.state_dir / "promise.json").read_text())
    assert promised["ends_s"] - promised["accepted_s"] == pytest.approx(600, abs=1)


def test_door_when_another_session_is_ordered_then_the_old_one_is_shut_first(door_site: Site) -> None:
    """One door at a time; the session that had to go is named, and written down."""
    site = door_site
    first = site.open()
    pids = site.leave_behind(first["port"])
    second = site.open()
    assert second["ended"] == first["session"]
    assert not is_listening(first["port"])
    assert not any(is_running(pid) for pid in pids)
    assert site.ended() == [first["session"]]
    assert site.ssh(second["port"], "true").returncode == 0


def test_door_when_port_is_busy_then_the_same_order_opens_on_another(site: Site) -> None:
    """A busy port uses nothing up: the agent tries another with the order that it has."""
    site.ask({"verb": "status"})
    envelope = site.envelope(site.body(site.new_session()))
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        assert site.order(envelope, squatter.getsockname()[1])["code"] == "door.port-busy"
        assert site.left_over() == []
        assert site.order(envelope)["ok"]


def test_door_when_sshd_is_missing_then_its_code_is_answered(site: Site) -> None:
    """The device maker learns what to install."""
    site.configure(sshd="/usr/sbin/absent", door="sshd")
    site.ask({"verb": "status"})
    assert site.order(site.envelope(site.body(site.new_session())))["code"] == "door.no-sshd"


@pytest.mark.feature("T5")
def test_door_when_sshd_is_missing_and_any_door_will_do_then_the_embedded_one_opens(site: Site) -> None:
    """A device without OpenSSH's server is reached all the same, and the answer says by what."""
    site.configure(sshd="/usr/sbin/absent")
    answer = site.open()
    assert answer["door"] == "embedded"
    assert site.ssh(answer["port"], "id -un").stdout.decode().split() == [site.login_user]


def test_door_when_sshd_does_not_start_then_nothing_is_left(site: Site) -> None:
    """A door that does not come up is taken down again, keeper and all."""
    site.configure(sshd="/bin/false")
    site.ask({"verb": "status"})
    assert site.order(site.envelope(site.body(site.new_session())))["code"] == "door.not-started"
    assert site.left_over() == []


@pytest.mark.parametrize(("change", "code"), [("absent", "door.no-user"), ("locked", "door.user-locked")])
def test_door_when_login_user_cannot_log_in_then_its_code_is_answered(site: Site, change: str, code: str) -> None:
    """A missing or locked account is told before the door opens, not by sshd's refusal of every key."""
    user = site.login_user
    if change == "absent":
        user = "dwabsent"
        site.configure(login_user=user)
    else:
        run(["/usr/sbin/usermod", "--lock", user])
    try:
        site.ask({"verb": "status"})
        login = {"user": user, "authorized_keys": []}
        answer = site.order(site.envelope(site.body(site.new_session(), login=login)))
        assert answer["code"] == code
        assert site.left_over() == []
    finally:
        run(["/usr/sbin/usermod", "--password", "*", site.login_user])


def test_runner_when_another_is_at_work_then_it_waits_and_then_says_busy(tmp_path: Path) -> None:
    """One order at a time; whoever waits too long is told so, and nothing is done."""
    with files.locked(tmp_path / "lock"):
        with pytest.raises(Refused) as refused, files.locked(tmp_path / "lock", wait_s=0.1):
            pytest.fail("two hold one lock")
        assert refused.value.code == "runner.busy"
    with files.locked(tmp_path / "lock", wait_s=0.1):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
