"""The table of refusals against every kind of relay, with the real ssh client."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificateType
from doorward_relay.watch import IDLE_MS

from tests.parts.files import scratch_folder
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.relay.asking import COMMAND, Request, answers, is_logged_in, words_on_a_tun_device
from tests.relay.cases import (
    EVERY_EXTENSION,
    HOST_CERTIFICATE,
    NO_DEVICE,
    NOT_ADMITTED,
    NOT_GIVEN,
    NOT_GRANTED,
    NOT_RUN,
    THROUGH_A_CONNECTION,
    Case,
    Shown,
)
from tests.relay.conftest import Door, installed_relay, skip_without_parts
from tests.relay.relaying import (
    EMBEDDED,
    KINDS,
    MANAGED,
    TUNNEL_USER,
    Console,
    Device,
    Relay,
    SshCa,
    device_for,
    listeners_on,
    new_id,
)
from tests.relay.serving import said_through

SOCKETS = {MANAGED: "hello.sock", EMBEDDED: "status.sock", "plain": "some.sock"}
"""A unix socket on which each kind of relay listens."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One relay for the whole table: refusals leave nothing behind."""

    relay: Relay
    console: Console
    folder: Path
    sessions: dict[str, str]
    secret: Door

    def device(self, case: Case) -> Device:
        shown = case.shown
        kind = SSHCertificateType.HOST if shown.kind == "host" else SSHCertificateType.USER
        console = self.console if shown.ca == "own" else Console(self.relay, self.folder, tunnel_ca=SshCa())
        device = device_for(
            self.relay, console, self.folder, "",
            principals=[self.sessions.get(one, one) for one in shown.principals],
            valid_s=shown.valid_s, kind=kind, extensions=shown.extensions,
        )  # fmt: skip
        device.user = shown.user or TUNNEL_USER
        return device

    def arguments(self, case: Case, local: int = 0) -> list[str]:
        """Fill in the case's words; options stand before the target, a command behind it."""
        words: dict[str, object] = {f"p{n}": self.relay.ports[n] for n in range(4)}
        words |= {
            "secret": self.secret.port,
            "local": local,
            "socket": self.relay.folder / "run" / SOCKETS[self.relay.kind],
        }
        return [one.format(**words, folder=self.folder) for one in case.asks]


@pytest.fixture(scope="module", params=KINDS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    skip_without_parts(request.param)
    with scratch_folder() as folder:
        programs = Programs(folder)
        secret = Door("secret")
        try:
            relay = installed_relay(programs, folder / "relay", request.param)
            console = Console(relay, folder)
            console.pair()
            live = console.granted(relay.ports[0])
            local = console.granted(relay.ports[1], bind="localhost")
            console.granted(relay.ports[2])
            ended = console.granted(relay.ports[4])
            console.end(ended.session)
            sessions = {"live": live.session, "local": local.session, "ended": ended.session, "unknown": new_id("s")}
            yield Stage(relay, console, folder, sessions, secret)
        finally:
            programs.end_all()
            secret.shut()


WITHOUT_A_FAULT = Case("hello", ("hello",), login=True)
"""What a faulty certificate is held against: the same key, shown with a good one."""


def _split(asks: list[str]) -> tuple[list[str], list[str]]:
    """Tell ssh's options from the command that is to be run."""
    takes_value = {"-R", "-W", "-L", "-D", "-w", "-o"}
    at = 0
    while at < len(asks) and asks[at].startswith("-"):
        at += 2 if asks[at] in takes_value else 1
    return asks[:at], asks[at:]


def _try(stage: Stage, case: Case) -> tuple[int, str, str]:
    device = stage.device(case)
    options, command = _split(stage.arguments(case))
    if case.shown.login == "plain":
        device.certificate = ""
    if case.shown.login == "password":
        options += ["-o", "PreferredAuthentications=password,keyboard-interactive"]
    ran = device.attempt("-v", *options, device.target, *command)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def is_refused(case: Case, errors: str) -> bool:
    """Tell whether a forward was refused when it was asked for, and not granted and ended a moment later as surplus."""
    return "-R" not in case.asks or "remote port forwarding failed for listen p" in errors


@pytest.mark.feature("B3")
@pytest.mark.threat("tunnel-root")
@pytest.mark.threat("tunnel-certificate")
@pytest.mark.threat("tunnel-after-end")
@pytest.mark.parametrize("case", NOT_ADMITTED, ids=lambda case: case.name)
def test_a_device_when_it_has_no_live_grant_to_show_then_it_is_not_logged_in(stage: Stage, case: Case) -> None:
    """Without a certificate of the pinned CA for a live session nobody gets past the log-in; the same key with one does."""
    assert "Authenticated to" in _try(stage, WITHOUT_A_FAULT)[2]
    status, output, errors = _try(stage, case)

    assert status == 255, errors
    assert "Permission denied" in errors
    assert "Authenticated to" not in errors
    assert output == ""
    assert listeners_on(stage.relay.ports[0]) == []
    assert stage.relay.sshd is None or case.says in stage.relay.sshd.log_text()


@pytest.mark.feature("B3")
@pytest.mark.threat("tunnel-certificate")
def test_a_device_when_its_certificate_is_a_hosts_then_it_is_not_logged_in(stage: Stage) -> None:
    """The CA's word that a key is a host's is no word that it is a device's; the same key with a user's gets in."""
    assert is_logged_in(stage.device(WITHOUT_A_FAULT))
    assert not is_logged_in(stage.device(HOST_CERTIFICATE))
    assert stage.relay.sshd is None or HOST_CERTIFICATE.says in stage.relay.sshd.log_text()


@pytest.mark.threat("tunnel-other-port")
@pytest.mark.threat("tunnel-reaches")
@pytest.mark.threat("tunnel-shell")
@pytest.mark.threat("device-foreign-ports")
@pytest.mark.parametrize("case", NOT_GRANTED, ids=lambda case: case.name)
def test_a_device_when_it_asks_for_more_than_its_grant_then_it_is_refused(stage: Stage, case: Case) -> None:
    """A live grant gives its own ports on its own addresses, and nothing else."""
    began = time.monotonic()
    status, output, errors = _try(stage, case)

    assert "Authenticated to" in errors, errors
    assert status != 0, errors
    assert time.monotonic() - began < IDLE_MS / 1000 - 2  # refused, and not ended later because it holds nothing
    assert is_refused(case, errors), errors
    assert "secret" not in output
    assert [port for port in stage.relay.ports if listeners_on(port)] == []


@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("case", NOT_RUN, ids=lambda case: case.name)
def test_a_device_when_it_wants_to_run_something_then_hello_runs_instead(stage: Stage, case: Case) -> None:
    """No shell and no command: the one thing that runs on the relay is hello."""
    _, output, errors = _try(stage, case)

    assert "Authenticated to" in errors, errors
    (line,) = output.strip().splitlines()
    assert set(json.loads(line)) == {"code", "next"}


@pytest.mark.threat("tunnel-shell")
@pytest.mark.parametrize("asked", NOT_GIVEN, ids=lambda asked: asked.name)
def test_a_device_when_it_asks_for_an_agent_a_display_or_a_terminal_then_the_relay_says_no(
    stage: Stage, asked: Request
) -> None:
    """With every extension in its certificate it is the relay that refuses; hello is given on the very same channel."""
    device = stage.device(Case("", (), Shown(extensions=EVERY_EXTENSION)))
    assert answers(device, asked, COMMAND) == [False, True]


@pytest.mark.threat("tunnel-reaches")
def test_a_device_when_it_asks_for_a_tun_device_then_the_relay_says_no(stage: Stage) -> None:
    """No network of the relay's is reached that way either, and not only because its user could not make a device."""
    assert NO_DEVICE & {*words_on_a_tun_device(stage.device(Case("", ())))}


@pytest.mark.threat("tunnel-reaches")
@pytest.mark.parametrize("case", THROUGH_A_CONNECTION, ids=lambda case: case.name)
def test_a_device_when_it_forwards_into_the_relay_then_nothing_comes_through(stage: Stage, case: Case) -> None:
    """The relay's own loopback cannot be reached through a tunnel."""
    device, local = stage.device(case), free_port()
    options = stage.arguments(case, local)
    client = stage.relay.programs.start(
        require("ssh"), "-N", *device.options(), *options, device.target, name="forwarding-ssh"
    )
    client.wait_for_port(local)

    assert said_through(local, stage.secret.port if case.name == "dynamic-forward" else None) == b""
    client.end()


@pytest.mark.threat("relay-host-key")
def test_a_relay_when_it_shows_another_host_key_then_nothing_is_sent_to_it(stage: Stage) -> None:
    """A client that pinned another host key breaks off before it authenticates."""
    device = stage.device(Case("", ()))
    wrong = SshCa().public_line
    hosts = f"[127.0.0.1]:{stage.relay.ssh_port} {wrong}\n"
    ran = device.attempt("-v", "-N", device.target, known_hosts=hosts)

    errors = ran.stderr.decode()
    assert ran.returncode == 255
    assert "Host key verification failed" in errors
    assert "Offering public key" not in errors


@pytest.mark.feature("B8")
def test_a_port_when_something_else_listens_on_it_then_hello_says_busy(
    stage: Stage, dial_here: Callable[[str], Device]
) -> None:
    """A process that is no device's connection is never ended for a port: the exact reason goes to the device."""
    with socket.create_server(("::", stage.relay.ports[0]), family=socket.AF_INET6, dualstack_ipv6=True):
        device = dial_here(stage.sessions["live"])
        client = device.dial()
        assert device.forward(stage.relay.ports[0], 9) == 255
        assert device.hello()["code"] == "relay.port-busy"
        client.end()
    wait_until(lambda: not listeners_on(stage.relay.ports[0]), 5, "the free port")


@pytest.fixture
def dial_here(stage: Stage) -> Callable[[str], Device]:
    return lambda session: device_for(stage.relay, stage.console, stage.folder, session)
