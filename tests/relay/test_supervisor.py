"""A relay under systemd: what its daemon says, and when."""

import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.parts.confined import as_unit
from tests.parts.installed import require
from tests.parts.ports import is_listening, neighbours
from tests.parts.processes import Program, Programs
from tests.parts.supervision import LIMIT_S, READY, Init, must_obey_a_watchdog
from tests.relay.conftest import Door
from tests.relay.relaying import MANAGED, PROGRAM, Console, Relay, device_for, install_relay


@pytest.fixture
def unstarted(programs: Programs, scratch: Path, kind: str) -> Relay:
    """An installed relay of which nothing runs."""
    return install_relay(programs, scratch / "relay", neighbours(8), kind)


def start_daemon(relay: Relay, init: Init) -> Program:
    """Start a daemon as its unit confines it."""
    service = "doorward-relay" if relay.kind == MANAGED else "doorward-relay-embedded"
    argv = as_unit(service, PROGRAM, relay.verb, "--config", relay.config_file)
    relay.daemon = relay.programs.start(*argv, name="relay", env=init.environment)
    return relay.daemon


def start_sshd(relay: Relay) -> None:
    """Start a managed relay's sshd as its unit confines it."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    argv = as_unit("doorward-relay-sshd", require("sshd"), "-D", "-e", "-f", relay.folder / "state/sshd/sshd_config")
    relay.sshd = relay.programs.start(*argv, name="relay-sshd")


def serves(relay: Relay) -> bool:
    return is_listening(relay.control_port) and is_listening(relay.ssh_port)


@pytest.mark.feature("E9")
@pytest.mark.real("systemd-analyze")
def test_relay_when_its_loop_hangs_then_systemd_hears_no_more_of_it(unstarted: Relay, scratch: Path) -> None:
    """Ready once control port and ssh serve, alive in time while it looks, silent while it hangs, and a word when it ends."""
    address = scratch / "notify" if unstarted.kind == MANAGED else f"@doorward-test-{secrets.token_hex(8)}"
    with closing(Init(address)) as init:
        if unstarted.kind == MANAGED:
            start_sshd(unstarted)
        must_obey_a_watchdog(init, start_daemon(unstarted, init), lambda: serves(unstarted))


@pytest.mark.feature("E9")
@pytest.mark.real("systemd-analyze")
@pytest.mark.parametrize("kind", [MANAGED], indirect=True)
def test_relay_when_its_sshd_is_not_there_then_it_is_not_ready_and_says_what_it_waits_for(
    unstarted: Relay, scratch: Path
) -> None:
    """It goes on starting as long as that takes, and may hang no more than later; ready when sshd serves."""
    with closing(Init(scratch / "notify")) as init:
        daemon = start_daemon(unstarted, init)
        init.wait_for(daemon, f"STATUS=waits for ssh on port {unstarted.ssh_port}", 3)
        assert f"EXTEND_TIMEOUT_USEC={LIMIT_S * 1e6:.0f}" in init.heard()
        assert READY not in init.heard()
        start_sshd(unstarted)
        init.wait_for(daemon, READY)
        assert init.heard()[init.heard().index(READY) + 1] == "STATUS="


@pytest.mark.real("systemd-analyze")
def test_relay_when_confined_as_its_units_say_then_a_device_gets_its_port_and_loses_it(
    unstarted: Relay, scratch: Path, door: Callable[..., Door]
) -> None:
    """No system call or power that daemon, sshd, its sessions or hello need is among those that the units take away."""
    with closing(Init(scratch / "notify")) as init:
        if unstarted.kind == MANAGED:
            start_sshd(unstarted)
        init.wait_for(start_daemon(unstarted, init), READY)
        console = Console(unstarted, scratch)
        console.pair()
        grant = console.granted(unstarted.ports[0])
        old, new = (device_for(unstarted, console, scratch, grant.session) for _ in range(2))
        for device in (old, new):
            device.dial()
        assert old.forward(unstarted.ports[0], door("x").port) == 0
        assert new.hello()["code"] == "relay.port-freed"
        assert new.forward(unstarted.ports[0], door(grant.session).port) == 0
        console.wait_for_verb("tunnel.replaced", grant.session)
        assert console.end(grant.session).status_code == 200
        assert not is_listening(unstarted.ports[0])
