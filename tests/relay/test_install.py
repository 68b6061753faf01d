"""Installing a relay: shown first, root's alone, repeatable; what sshd makes of the configuration; running and status."""

import json
import os
import pwd
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from doorward_relay.config import ConfigError, RelayConfig, config_from_text, text_from_config
from doorward_relay.edges.users import make_tunnel_user
from doorward_relay.sshd_text import sshd_config_text

from tests.parts.accounts import remove_account
from tests.parts.installed import require
from tests.parts.ports import neighbours
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until
from tests.relay.relaying import PROGRAM, TUNNEL_USER, Console, Relay, device_for, install_relay, listeners_on

EXAMPLE = Path(__file__).parents[2] / "examples" / "relay.toml"


def _installed(folder: Path, *flags: str, answer: bytes = b"") -> tuple[int, str, str]:
    ran = run([PROGRAM, "install", "--config", folder / "relay.toml", *flags], stdin=answer)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def test_the_example_when_it_is_read_then_every_key_is_there_with_its_default() -> None:
    """examples/relay.toml explains each key and is the default configuration."""
    assert config_from_text(EXAMPLE.read_text()) == RelayConfig(host="relay.example.com")
    assert set(text_from_config(RelayConfig(host="x")).split()) >= {"host", "ports", "sshd_program"}


def test_a_configuration_when_it_has_many_faults_then_all_are_told_at_once() -> None:
    """One run tells everything that has to be changed."""
    text = 'hots = "x"\nssh_port = 0\nports = [5, 4]\nstate_dir = "a b"\ntunnel_user = "root"\nlongest_session_s = 1'
    with pytest.raises(ConfigError) as error:
        config_from_text(text)
    named = [fault.split(":")[0] for fault in error.value.faults]
    assert named == ["host", "hots", "longest_session_s", "ports", "ssh_port", "state_dir", "tunnel_user"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host = ", ["not TOML"]),
        ('host = "x"\nssh_port = 20500', ["ssh_port"]),
        ('host = "x"\nssh_port = 8443', ["control_port"]),
        ('host = "x y"', ["host"]),
    ],
)
def test_a_configuration_when_it_contradicts_itself_then_it_is_refused(text: str, named: list[str]) -> None:
    """Ports that collide and text that is no TOML are faults of the file."""
    with pytest.raises(ConfigError) as error:
        config_from_text(text)
    assert [fault.split(":")[0] for fault in error.value.faults] == named


def test_a_configuration_when_it_is_written_then_it_reads_back_the_same() -> None:
    """What install writes is what run reads."""
    config = RelayConfig(host="relay.example.com", ssh_port=22, ports=(1024, 2000), state_dir=Path("/srv/x"))
    assert config_from_text(text_from_config(config)) == config


@pytest.mark.real("root", "sshd", "useradd")
@pytest.mark.parametrize("answer", [b"n\n", b""])
def test_installing_when_the_operator_does_not_say_yes_then_nothing_is_written(scratch: Path, answer: bytes) -> None:
    """The sshd configuration is shown first, and without a yes nothing happens; a script that answers nothing hears what to add."""
    status, output, said = _installed(scratch, "--host", "127.0.0.1", "--state-dir", f"{scratch}/state", answer=answer)
    assert (status, "--yes" in said) == (1, True), said
    assert "AllowUsers doorward-tunnel" in output
    assert not (scratch / "state").exists()
    assert not (scratch / "relay.toml").exists()


@pytest.mark.real("root", "sshd", "useradd")
def test_installing_when_others_may_write_above_the_state_then_it_says_so(scratch: Path) -> None:
    """sshd would silently admit nobody: exit 78 and the folder's name instead."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        status, _, errors = _installed(scratch, "--host", "127.0.0.1", "--state-dir", f"{folder}/state", "--yes")
    assert status == 78
    assert "/tmp is not root's alone to write" in errors


@pytest.mark.real("root", "sshd", "useradd")
def test_an_installed_relay_when_its_files_are_looked_at_then_secrets_are_roots_alone(
    programs: Programs, scratch: Path
) -> None:
    """Modes are set, the tunnel user has no password and is not locked, and a second run keeps every key."""
    relay = install_relay(programs, scratch / "relay", neighbours(8))
    state = relay.folder / "state"
    modes = {path: stat.S_IMODE((state / path).stat().st_mode) for path in ("record.key", "tls.key", "relay.db")}
    assert modes == {"record.key": 0o400, "tls.key": 0o400, "relay.db": 0o600}
    assert stat.S_IMODE((state / "sshd/ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert _shadow(TUNNEL_USER) == "*"
    assert pwd.getpwnam(TUNNEL_USER).pw_shell == "/bin/sh"

    before = {path: path.read_bytes() for path in (*state.glob("*.key"), *state.glob("sshd/ssh_host*"))}
    status, output, errors = relay.command("install", "--yes")
    assert status == 0, errors
    assert {path: path.read_bytes() for path in before} == before
    assert output.strip().splitlines()[-1].split()[-1] == relay.line.ssh_host_key.split()[-1]


@pytest.mark.real("root", "useradd")
def test_the_tunnel_user_when_it_is_new_or_was_locked_then_keys_can_work() -> None:
    """An account locked with ``!`` refuses every key; ``*`` has no password and refuses none."""
    name = f"doorward-t{os.getpid()}"
    try:
        make_tunnel_user(name)
        assert _shadow(name) == "*"
        assert run(["/usr/sbin/usermod", "--password", "!", "--shell", "/usr/sbin/nologin", name]).returncode == 0
        make_tunnel_user(name)
        assert _shadow(name) == "*"
        assert pwd.getpwnam(name).pw_shell == "/bin/sh"
    finally:
        remove_account(name)


def _shadow(user: str) -> str:
    rows = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return next(row[1] for row in rows if row[0] == user)


@pytest.mark.threat("tunnel-root")
@pytest.mark.real("root", "sshd", "useradd")
def test_our_sshd_when_it_is_asked_then_the_tunnel_ca_counts_for_the_tunnel_user_alone(
    programs: Programs, scratch: Path
) -> None:
    """Outside the Match block the CA would make a certificate for principal root into root."""
    relay = install_relay(programs, scratch / "relay", neighbours(8))
    nothing = {
        "trustedusercakeys": "none", "authorizedkeysfile": "none", "allowtcpforwarding": "no", "gatewayports": "no",
        "allowstreamlocalforwarding": "no", "allowagentforwarding": "no", "x11forwarding": "no", "permittunnel": "no",
        "permittty": "no", "permituserrc": "no", "permituserenvironment": "no", "permitrootlogin": "no",
        "passwordauthentication": "no", "kbdinteractiveauthentication": "no",
    }  # fmt: skip
    said = {}
    for user in ("root", "nobody", TUNNEL_USER):
        place = f"user={user},host=h,addr=203.0.113.9"
        ran = run([require("sshd"), "-T", "-f", relay.folder / "state/sshd/sshd_config", "-C", place])
        lines = ran.stdout.decode().splitlines()
        said[user] = {key: value for key, _, value in (line.partition(" ") for line in lines) if key in nothing}
    assert said["root"] == said["nobody"] == nothing
    assert said[TUNNEL_USER] == nothing | {
        "trustedusercakeys": f"{relay.folder}/state/sshd/tunnel_ca.pub",
        "allowtcpforwarding": "remote",
        "gatewayports": "clientspecified",
    }


def test_our_sshd_when_it_knows_penalties_then_they_are_off() -> None:
    """A fleet behind one NAT is one source; older sshd does not know the word."""
    config = RelayConfig(host="x")
    assert "PerSourcePenalties no" in sshd_config_text(config, knows_penalties=True)
    assert "PerSourcePenalties" not in sshd_config_text(config, knows_penalties=False)


@pytest.mark.feature("B15")
def test_a_fleet_when_it_dials_at_once_from_one_address_then_nobody_is_turned_away(
    relay: Relay, console: Console, scratch: Path
) -> None:
    """Debian's MaxStartups would drop a good part of forty connections at once."""
    grant = console.granted(relay.ports[0])
    device = device_for(relay, console, scratch, grant.session)
    argv = [require("ssh"), "-N", *device.options(), device.target]
    fleet = [relay.programs.start(*argv, "-v", name=f"fleet-{n}") for n in range(40)]
    wait_until(
        lambda: all("Authenticated to" in one.log_text() or not one.is_running for one in fleet), 60, "the fleet"
    )
    assert [one.log_text()[-500:] for one in fleet if not one.is_running] == []


@pytest.mark.real("root", "sshd", "ssh", "useradd")
def test_a_relay_when_it_runs_with_its_sshd_then_both_end_together_and_a_kill_leaves_sshd_serving(
    programs: Programs, scratch: Path
) -> None:
    """Without systemd one program is enough; killed, sshd goes on, and the next daemon takes it up again."""
    relay = install_relay(programs, scratch / "relay", neighbours(8))
    relay.start_daemon("--with-sshd")
    console = Console(relay, scratch)
    console.pair()
    grant = console.granted(relay.ports[0])
    device = device_for(relay, console, scratch, grant.session)
    client = device.dial()
    assert device.forward(relay.ports[0], 9) == 0
    assert relay.daemon is not None
    relay.daemon.kill()
    assert listeners_on(relay.ssh_port)
    daemon = relay.start_daemon("--with-sshd")
    assert device.ask("check") == 0

    sshd = int((relay.folder / "run/sshd.pid").read_text())
    os.kill(sshd, signal.SIGKILL)
    wait_until(lambda: listeners_on(relay.ssh_port), 10, "sshd's return")
    assert device.ask("check") == 0

    assert daemon.end() == 0
    assert not listeners_on(relay.ssh_port)
    assert not listeners_on(relay.ports[0])
    wait_until(lambda: not client.is_running, 5, "the connection's end")


def test_status_when_a_door_is_open_then_it_says_who_and_where(relay: Relay, console: Console, scratch: Path) -> None:
    """One JSON object or a few lines, and an exit status that tells well from not."""
    grant = console.granted(relay.ports[0])
    device = device_for(relay, console, scratch, grant.session)
    device.dial()
    assert device.forward(relay.ports[0], 9) == 0
    status, output, _ = relay.command("status", "--json")
    said = json.loads(output)
    assert status == 0
    assert said["paired"]["project"] == console.project
    assert [(one["session"], one["ports"], one["tunnel"]) for one in said["live"]] == [
        (grant.session, [relay.ports[0]], "127.0.0.1")
    ]
    assert grant.session in relay.command("status")[1]

    assert relay.daemon is not None
    relay.daemon.end()
    assert "hello.broken" not in relay.daemon.log_text(), "who only looked was taken for a device that broke off"
    status, output, _ = relay.command("status")
    assert status == 1
    assert "not running" in output


def test_a_command_when_it_is_wrong_then_the_exit_status_says_of_what_kind(scratch: Path) -> None:
    """64 for the command line, 78 for the configuration; --help begins with examples."""
    assert run([PROGRAM, "dance"]).returncode == 64
    missing = run([PROGRAM, "run", "--config", scratch / "none.toml"])
    assert missing.returncode in {77, 78}
    helped = run([PROGRAM, "--help"])
    assert helped.returncode == 0
    assert helped.stdout.decode().index("examples:") < helped.stdout.decode().index("options:")


def test_status_when_it_is_asked_for_then_the_daemons_libraries_are_not_loaded(relay: Relay) -> None:
    """People and monitoring ask often; loading what only the daemon needs was most of its time."""
    code = (
        "import sys; from doorward_relay.commands import run_command; run_command(sys.argv[1:]); "
        "print({'h11', 'asyncssh'} & set(sys.modules))"
    )
    ran = run([sys.executable, "-c", code, "status", "--config", relay.config_file])
    assert ran.stdout.decode().splitlines()[-1] == "set()", ran.stderr.decode()
