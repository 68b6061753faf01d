"""Our units on a machine that the real systemd boots: in their order, and with settings on trial when its power fails."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.test_operations import blocks
from tests.parts.booted import PARTS, Booted
from tests.parts.installed import missing
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.runner.booted_site import ENABLED, BootedSite, installed, laid_out
from tests.runner.managed import IFUPDOWN, MANAGERS, NEW, OLD, Device, managed

pytestmark = [pytest.mark.feature("B7", "I15"), pytest.mark.real(*PARTS, "ssh"), pytest.mark.timeout(120)]

TRIAL_S = 5
LONG_S = 600


@pytest.fixture(params=(*MANAGERS, IFUPDOWN), ids=lambda manager: manager.part)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device with each manager."""
    if reason := missing(request.param.part):
        pytest.skip(reason)
    with managed(request.param) as made:
        yield made


def try_new(site: BootedSite) -> None:
    """Hand over an order with other settings, and see them on trial."""
    site.ask({"verb": "status"})
    body = json.dumps({"values": {"network": NEW}}, separators=(",", ":"))
    answer = site.order(site.envelope(body, part="settings"))
    assert (answer["ok"], answer.get("state")) == (True, "trying"), answer


def test_units_when_the_machine_boots_then_each_has_its_turn_and_none_is_dropped(device: Device) -> None:
    """No unit waits for one that waits for it: systemd would leave one of them out, and says which only in its journal."""
    installed(device.machine, device.machine.top.parent)
    machine = device.machine
    assert machine.must("systemd-analyze", "verify", "--man=no", "multi-user.target") == ""
    for unit in ("sockets.target", "basic.target", "doorward-runner.socket", "doorward-runner-nonce.timer"):
        assert machine.must("systemctl", "is-active", unit) == "active\n"
    said = machine.must(
        "systemctl", "show", "--property=Result,ExecMainStatus,ExecMainExitTimestampMonotonic", ENABLED[1]
    )
    shown = dict(line.split("=") for line in said.splitlines())
    assert (shown["Result"], shown["ExecMainStatus"]) == ("success", "0")
    assert int(shown["ExecMainExitTimestampMonotonic"]) > 0


def test_page_when_its_block_for_systemd_is_typed_then_the_units_run_and_are_enabled(
    scratch: Path, programs: Programs
) -> None:
    """operations.md as it stands there, on a machine with what stands above that block, and nothing else of ours."""
    machine = Booted(scratch / "machine", programs)
    machine.prepare()
    laid_out(machine)
    machine.power_on()
    try:
        (block,) = blocks("device systemd")
        machine.must("mkdir", "/etc/doorward")
        machine.must("/bin/sh", "-ec", block)
        assert machine.must("systemctl", "is-enabled", *ENABLED).split() == ["enabled"] * 3
        wait_until(lambda: machine.inside("/run/doorward-runner/nonce").exists(), 20, "the first nonce")
        wait_until(lambda: machine.inside("/run/doorward-runner/socket").is_socket(), 20, "the runner's socket")
        assert machine.must("systemctl", "show", "--property=Result", ENABLED[1]) == "Result=success\n"
        assert machine.must("systemctl", "cat", "doorward-agent.service")
        assert machine.inside("/etc/doorward/agent.toml").exists()
    finally:
        machine.cut_power()


@pytest.mark.real(MANAGERS[1].part)
def test_settings_when_nobody_confirms_then_systemds_own_timer_has_them_put_back() -> None:
    """The transient timer is real, and nobody of ours runs until it comes."""
    with managed(MANAGERS[1]) as device:
        site = installed(device.machine, device.machine.top.parent, trial_s=TRIAL_S)
        try_new(site)
        wait_until(lambda: site.settings() == ("reverted", "settings.unconfirmed"), 40, "the settings to be put back")
        device.wait_for(OLD)


def test_settings_when_power_fails_during_their_trial_then_the_boot_puts_them_back_and_nobody_asks(
    device: Device,
) -> None:
    """The manager may have begun with what was tried, or not begun yet."""
    site = installed(device.machine, device.machine.top.parent, trial_s=LONG_S)
    before = device.files()
    try_new(site)
    device.wait_for(NEW)
    device.reboot()
    wait_until(lambda: site.settings() == ("reverted", "settings.rebooted"), 40, "the settings to be put back")
    device.wait_for(OLD)
    assert device.files().keys() == before.keys()
