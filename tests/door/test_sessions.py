"""What an engineer gets behind the embedded door: shells and commands as with sshd, and nothing else."""

import os
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.door.standing import Door
from tests.parts.processes import run
from tests.parts.sshd import make_ssh_key
from tests.parts.waiting import wait_until
from tests.runner.conftest import Users
from tests.runner.site import is_running


@pytest.mark.feature("T5", "E4")
def test_command_when_it_ends_then_status_output_and_errors_come_apart(door: Door) -> None:
    """As with sshd: the exit status, and standard error in its own stream."""
    ran = door.ssh("echo out; echo err >&2; exit 7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"out\n", b"err\n")
    assert door.ssh("cat; pwd", stdin=b"in\n").stdout.decode().split() == ["in", f"/home/{door.login_user}"]


def test_door_when_openssh_comes_then_aes_gcm_is_agreed_on_and_curve25519_by_its_standard_name(door: Door) -> None:
    """OpenSSH asks for AES-CTR first, which costs twice the time here; paramiko knows the exchange by its older name alone."""
    ran = door.ssh("true", options=["-v", "-o", "KexAlgorithms=curve25519-sha256"])
    assert ran.returncode == 0, ran.stderr.decode()
    assert b"server->client cipher: aes128-gcm@openssh.com" in ran.stderr


def test_command_when_a_signal_ends_it_then_the_client_is_told_which(door: Door) -> None:
    """exit-signal, not a made-up status."""
    ran = door.ssh("kill -TERM $$", options=["-o", "LogLevel=VERBOSE"])
    assert ran.returncode == 255
    with door.connect() as client:
        _, stdout, _ = client.exec_command("kill -TERM $$")
        assert stdout.channel.recv_exit_status() == -1  # paramiko's client knows no exit-signal and says: none came


def test_shell_when_a_terminal_is_asked_for_then_it_has_one_with_its_size(door: Door) -> None:
    """A controlling terminal of the size that the client has, told of each change."""
    with door.connect() as client:
        shell = client.invoke_shell("xterm", width=101, height=37)
        shell.send(b"echo $(stty size) $(tty) $TERM $0 re''ady; trap 'stty size' WINCH\n")
        assert _read_until(shell, r"37 101 /dev/pts/\d+ xterm -sh ready\r\n")
        shell.resize_pty(width=55, height=22)
        shell.send(b"\n")  # dash runs a trap once it has read a line
        assert _read_until(shell, "22 55\r\n")
        shell.send(b"exit 5\n")
        assert shell.recv_exit_status() == 5


def test_shell_when_a_background_process_holds_the_terminal_then_it_ends_all_the_same(door: Door) -> None:
    """The shell's end is the session's, as with sshd."""
    with door.connect() as client:
        shell = client.invoke_shell()
        shell.send(b"trap '' HUP; sleep 600 &\nexit 3\n")
        shell.settimeout(10)
        assert shell.recv_exit_status() == 3


def test_variables_when_sent_then_only_locale_is_taken(door: Door) -> None:
    """LANG and LC_*; neither PATH nor LD_PRELOAD, and not without end."""
    with door.connect() as client:
        wanted = {"LANG": "C.UTF-8", "LC_TIME": "de_DE", "PATH": "/evil", "LD_PRELOAD": "/evil"}
        many = {f"LC_{number}": "x" for number in range(40)}
        _, stdout, _ = client.exec_command("env", environment=wanted | many)
        seen = dict(line.partition("=")[::2] for line in stdout.read().decode().splitlines())
    assert (seen["LANG"], seen["LC_TIME"]) == ("C.UTF-8", "de_DE")
    assert seen["PATH"].startswith("/usr/")
    assert "LD_PRELOAD" not in seen
    assert len([name for name in seen if name.startswith("LC_")]) <= 16
    assert (seen["USER"], seen["HOME"]) == (door.login_user, f"/home/{door.login_user}")
    assert seen["DOORWARD_DOOR"] == str(door.folder)


@pytest.mark.threat("login-other-user")
def test_door_when_keys_or_users_are_wrong_then_nobody_gets_in(door: Door, users: Users) -> None:
    """Another key, another user, a password, keyboard-interactive, nothing at all: no."""
    make_ssh_key(door.folder.parent / "stranger")
    for user, key in ((door.login_user, "stranger"), ("root", "engineer"), (users.agent, "engineer")):
        with pytest.raises(paramiko.AuthenticationException):
            door.connect(door.folder.parent / key, user)
    for method in ("auth_password", "auth_none", "auth_interactive"):
        with paramiko.Transport(door.raw()) as transport:
            transport.start_client(timeout=10)
            more: dict[str, list[Any]] = {"auth_password": [""], "auth_interactive": [lambda *_: [""]]}
            with pytest.raises(paramiko.SSHException):
                getattr(transport, method)(door.login_user, *more.get(method, []))
            assert not transport.is_authenticated()


def test_door_when_the_right_key_comes_after_wrong_ones_then_it_is_taken_up_to_the_sixth(door: Door) -> None:
    """An engineer with several keys gets in, one with a bunch of them is sent away."""
    strangers = []
    for number in range(6):
        make_ssh_key(door.folder.parent / f"stranger-{number}")
        strangers += ["-i", str(door.folder.parent / f"stranger-{number}")]
    few = ["-o", "IdentityFile=none"]
    base = [word for word in door.options() if word not in ("-i", str(door.key))]
    target = ["-p", str(door.port), door.target, "true"]
    assert run(["/usr/bin/ssh", *base, *few, *strangers[:8], "-i", door.key, *target]).returncode == 0
    assert run(["/usr/bin/ssh", *base, *few, *strangers, "-i", door.key, *target]).returncode == 255


def test_door_when_a_key_of_an_unknown_kind_comes_first_then_the_right_one_is_still_taken(door: Door) -> None:
    """paramiko alone would hang up on a key type that it does not know, such as a hardware token's."""
    with paramiko.Transport(door.raw()) as transport:
        transport.start_client(timeout=10)
        message = paramiko.Message()
        message.add_byte(bytes([50]))  # SSH_MSG_USERAUTH_REQUEST
        for text in (door.login_user, "ssh-connection", "publickey"):
            message.add_string(text)
        message.add_boolean(False)
        message.add_string("sk-ssh-ed25519@openssh.com")
        message.add_string(b"\0\0\0\x1ask-ssh-ed25519@openssh.com")
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_none(door.login_user)
        answered = transport.auth_handler.auth_event = threading.Event()  # type: ignore[union-attr]
        transport._send_message(message)  # type: ignore[attr-defined]
        assert answered.wait(10)
        assert transport.is_active()
        transport.auth_publickey(door.login_user, paramiko.Ed25519Key(filename=str(door.key)))
        assert transport.is_authenticated()


def test_door_when_forwarding_is_asked_then_each_kind_is_refused(door: Door) -> None:
    """Also where the client asks by hand: direct-tcpip, tcpip-forward, x11, agent, another subsystem."""
    with door.connect() as client:
        transport = client.get_transport()
        assert transport is not None
        for kind, address in (("direct-tcpip", ("127.0.0.1", door.port)), ("x11", ("127.0.0.1", 1))):
            with pytest.raises(paramiko.ChannelException):
                transport.open_channel(kind, address, ("127.0.0.1", 1))
        with pytest.raises(paramiko.SSHException):
            transport.request_port_forward("127.0.0.1", 0)
        for ask in ("request_x11", "request_forward_agent"):
            channel = transport.open_session()
            with suppress(paramiko.SSHException):
                getattr(channel, ask)(*([] if ask == "request_x11" else [lambda _: None]))
                channel.exec_command("echo ${DISPLAY:-none}${SSH_AUTH_SOCK:-none}")
                assert channel.recv(100) == b"nonenone\n"
        channel = transport.open_session()
        with pytest.raises(paramiko.SSHException):
            channel.invoke_subsystem("netconf")


def test_channel_when_one_command_runs_then_no_second_is_taken(door: Door) -> None:
    """One process a channel (RFC 4254 §6.5)."""
    with door.connect() as client:
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.exec_command("sleep 5")
        for ask in (channel.invoke_shell, lambda: channel.invoke_subsystem("sftp"), channel.get_pty):
            again = pytest.raises(paramiko.SSHException)
            with again:
                ask()
            break  # a refused request closes paramiko's own end of the channel


@pytest.mark.threat("agent-reads-session")
def test_door_when_an_engineer_looks_for_its_host_key_then_its_memory_is_closed(door: Door) -> None:
    """The door runs as the engineer's user, and is neither root nor readable by it: no memory, no tracing, no descriptors."""
    pid = door.program.pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\s+(\d+)\s+\1\s+\1\s+\1$", status, re.MULTILINE)
    assert "Uid:\t0\t" not in status
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    looks = f"head -c 1 /proc/{pid}/mem; cat /proc/{pid}/environ; ls /proc/{pid}/fd; cat {door.folder}/embedded.json"
    ran = door.ssh(f"id -u; {looks}; cat {door.folder.parent}/host_key")
    assert re.fullmatch(r"\d+\n", ran.stdout.decode()), ran.stdout
    assert ran.stderr.decode().lower().count("permission denied") == 5


def test_shell_when_its_connection_breaks_then_an_editor_at_its_terminal_is_gone(door: Door) -> None:
    """A terminal that is closed under a running editor ends it, as sshd's does."""
    client = door.connect()
    shell = client.invoke_shell("xterm")
    shell.send(b"echo pid $$; exec ed /etc/hosts\n")
    pid = int(_read_until(shell, r"pid (\d+)\r\n"))
    wait_until(lambda: "ed" in Path(f"/proc/{pid}/comm").read_text())
    transport = client.get_transport()
    assert transport is not None
    transport.sock.close()
    wait_until(lambda: not is_running(pid), 5, "the editor's end")


def test_command_when_its_connection_breaks_then_it_hears_a_hangup(door: Door) -> None:
    """Without a terminal, too: what runs in the foreground does not stay; nohup is the closer's to end."""
    client = door.connect()
    _, stdout, _ = client.exec_command("echo $$; exec sleep 600")
    pid = int(stdout.readline())
    client.close()
    wait_until(lambda: not is_running(pid), 15, "the command's end")
    wait_until(lambda: door.children() == [], 5, "the last child to be reaped")


def _read_until(channel: paramiko.Channel, pattern: str) -> str:
    """Read a shell's output until ``pattern`` is found in it, and give its last group."""
    said = ""
    while (found := re.search(pattern, said)) is None:
        wait_until(channel.recv_ready, 10, f"{pattern!r} in {said!r}")
        said += channel.recv(4096).decode(errors="replace")
    return found.group(found.lastindex or 0)


def test_sessions_when_many_have_come_and_gone_then_no_thread_process_or_descriptor_is_left(door: Door) -> None:
    """What a session used is given back, whatever way it ended."""
    door.ssh("true")
    fds = Path(f"/proc/{door.program.pid}/fd")
    before = (door.threads(), len(list(fds.iterdir())))
    for number in range(12):
        client = door.connect()
        channels = [client.get_transport().open_session() for _ in range(4)]  # type: ignore[union-attr]
        channels[0].exec_command("true")
        channels[1].get_pty()
        channels[1].invoke_shell()
        channels[2].invoke_subsystem("sftp")
        channels[3].exec_command("cat")
        if number % 2:
            os.kill(door.children()[-1], signal.SIGKILL)
        client.close()
    wait_until(lambda: (door.threads(), len(list(fds.iterdir()))) <= before, 10, "threads and descriptors")
    wait_until(lambda: door.children() == [], 5, "children")
