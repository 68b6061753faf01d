"""The table of refusals against a plain relay: an ordinary sshd with our one line, and nothing else of ours."""

import pwd
import socket
from collections.abc import Iterator, Sequence

import pytest
from doorward_console.fleet.ssh_lines import relay_server_line
from doorward_protocol.joining import PairingLine

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import missing, require
from tests.parts.ports import free_port, neighbours
from tests.parts.processes import Programs, run
from tests.parts.sshd import start_sshd
from tests.relay.asking import COMMAND, Request, answers, is_logged_in, words_on_a_tun_device
from tests.relay.cases import (
    EVERY_EXTENSION,
    HOST_CERTIFICATE,
    NO_DEVICE,
    NOT_ADMITTED,
    NOT_GIVEN,
    NOT_GRANTED,
    NOT_RUN,
    ONLY_WITH_GRANTS,
    THROUGH_A_CONNECTION,
    Case,
    Shown,
)
from tests.relay.conftest import Door
from tests.relay.relaying import MANAGED, TUNNEL_USER, Console, Relay, listeners_on
from tests.relay.serving import said_through
from tests.relay.test_refusals import WITHOUT_A_FAULT, Stage, _try, is_refused


def applying(cases: Sequence[Case]) -> list[Case]:
    """Leave out what only a relay with grants can refuse."""
    return [case for case in cases if case.name not in ONLY_WITH_GRANTS]


@pytest.fixture(scope="module")
def plain() -> Iterator[Stage]:
    """An sshd with the line in its user's keys for the first of four ports."""
    for part in ("root", "sshd", "ssh", "useradd"):
        reason = missing(part)
        if reason is not None:
            pytest.skip(reason)
    with scratch_folder() as folder:
        programs, secret = Programs(folder), Door("secret")
        try:
            with socket.socket(socket.AF_UNIX) as some:
                stage = _stage(programs, secret)
                run_dir = stage.relay.folder / "run"
                run_dir.mkdir(mode=0o755)
                some.bind(str(run_dir / "some.sock"))
                (run_dir / "some.sock").chmod(0o777)  # as databases' are
                some.listen()
                yield stage
        finally:
            programs.end_all()
            secret.shut()


def _stage(programs: Programs, secret: Door) -> Stage:
    folder = programs.scratch
    _have_user()
    ports = neighbours(8)
    sshd = start_sshd(programs, folder / "relay", (), _options(folder / "relay"))
    line = PairingLine("127.0.0.1", 1, "0" * 64, "none", sshd.host_key)
    relay = Relay(MANAGED, programs, folder / "relay", sshd.port, 1, ports, line)
    console = Console(relay, folder)
    ours = relay_server_line(console.project, [ports[0]], console.tunnel_ca.public_line)
    write_whole(folder / "relay" / f"{TUNNEL_USER}_keys", ours + "\n")
    return Stage(relay, console, folder, {"live": console.project, "local": console.project}, secret)


def _options(folder: object) -> tuple[str, ...]:
    """Write what E2 asks for, and let each user have keys of their own; where they stand is all that is not usual."""
    said = ("PubkeyAuthentication yes", "GatewayPorts yes", "ClientAliveInterval 30", "ClientAliveCountMax 3")
    display = ("X11Forwarding yes", "XAuthLocation /bin/true")  # as Debian's own configuration has it
    return (*said, *display, f"AuthorizedKeysFile {folder}/%u_keys", "Subsystem sftp internal-sftp")


def _have_user() -> None:
    """Have the user that the managed relay's installation makes, with a shell that would run what is asked."""
    try:
        pwd.getpwnam(TUNNEL_USER)
    except KeyError:
        made = run([require("useradd"), "--system", "--shell", "/bin/sh", "--password", "*", TUNNEL_USER])
        assert made.returncode == 0, made.stderr.decode()


@pytest.mark.feature("E2")
def test_a_device_when_it_asks_for_the_port_in_the_line_then_it_gets_it(plain: Stage) -> None:
    """The good case works, or all refusals below would hold for nothing."""
    device = plain.device(Case("", ()))
    client = device.dial()
    try:
        assert device.forward(plain.relay.ports[0], plain.secret.port) == 0
        assert listeners_on(plain.relay.ports[0])
    finally:
        client.end()


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-root")
@pytest.mark.threat("tunnel-certificate")
@pytest.mark.parametrize("case", applying(NOT_ADMITTED), ids=lambda case: case.name)
def test_a_device_when_its_certificate_is_not_the_projects_then_a_plain_relay_does_not_admit_it(
    plain: Stage, case: Case
) -> None:
    """Without a living certificate of the project's CA nobody gets past the log-in; the same key with one does."""
    assert "Authenticated to" in _try(plain, WITHOUT_A_FAULT)[2]
    status, output, errors = _try(plain, case)

    assert status == 255, errors
    assert "Permission denied" in errors
    assert "Authenticated to" not in errors
    assert output == ""


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-certificate")
def test_a_device_when_its_certificate_is_a_hosts_then_a_plain_relay_does_not_admit_it(plain: Stage) -> None:
    """The CA's word that a key is a host's is no word that it is a device's; the same key with a user's gets in."""
    assert is_logged_in(plain.device(WITHOUT_A_FAULT))
    assert not is_logged_in(plain.device(HOST_CERTIFICATE))


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-other-port")
@pytest.mark.threat("tunnel-reaches")
@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("case", applying(NOT_GRANTED), ids=lambda case: case.name)
def test_a_device_when_it_asks_for_more_than_the_line_then_a_plain_relay_refuses(plain: Stage, case: Case) -> None:
    """The line gives its ports and nothing else: no other port, no way into the relay, no sftp."""
    status, output, errors = _try(plain, case)

    assert "Authenticated to" in errors, errors
    assert status != 0, errors
    assert is_refused(case, errors), errors
    assert "secret" not in output
    assert [port for port in plain.relay.ports if listeners_on(port)] == []


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("case", NOT_RUN, ids=lambda case: case.name)
def test_a_device_when_it_wants_to_run_something_then_a_plain_relay_runs_nothing(plain: Stage, case: Case) -> None:
    """No shell and no command: false runs instead."""
    status, output, errors = _try(plain, case)

    assert "Authenticated to" in errors, errors
    assert status != 0
    assert output == ""


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("asked", NOT_GIVEN, ids=lambda asked: asked.name)
def test_a_device_when_it_asks_for_an_agent_a_display_or_a_terminal_then_a_plain_relay_says_no(
    plain: Stage, asked: Request
) -> None:
    """Where sshd itself would give them to its users, the line does not; false is run on the very same channel."""
    device = plain.device(Case("", (), Shown(extensions=EVERY_EXTENSION)))
    assert answers(device, asked, COMMAND) == [False, True]


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-reaches")
def test_a_device_when_it_asks_for_a_tun_device_then_a_plain_relay_says_no(plain: Stage) -> None:
    """No network of the relay's is reached that way either, and not only because its user could not make a device."""
    assert NO_DEVICE & {*words_on_a_tun_device(plain.device(Case("", ())))}


@pytest.mark.feature("E2")
@pytest.mark.threat("tunnel-reaches")
@pytest.mark.parametrize("case", THROUGH_A_CONNECTION, ids=lambda case: case.name)
def test_a_device_when_it_forwards_into_a_plain_relay_then_nothing_comes_through(plain: Stage, case: Case) -> None:
    """The relay's own loopback cannot be reached through a tunnel."""
    device, local = plain.device(case), free_port()
    options = plain.arguments(case, local)
    client = plain.relay.programs.start(require("ssh"), "-N", *device.options(), *options, device.target, name="ssh")
    client.wait_for_port(local)

    assert said_through(local, plain.secret.port if case.name == "dynamic-forward" else None) == b""
    client.end()
