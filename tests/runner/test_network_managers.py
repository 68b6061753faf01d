"""The settings hooks with the real NetworkManager and the real systemd-networkd, on a machine that the real systemd runs."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.parts.booted import PARTS
from tests.parts.files import write_whole
from tests.parts.installed import missing
from tests.parts.waiting import wait_until
from tests.runner.hook_bench import NEXT
from tests.runner.managed import IFUPDOWN, LEASED, MANAGERS, NEW, OLD, Device, managed

pytestmark = [pytest.mark.feature("I15", "B7"), pytest.mark.real(*PARTS), pytest.mark.timeout(120)]

OTHER: Final = {**NEW, "address": "10.9.8.99/24"}
NOTHING: Final = {**OLD, "address": "", "gateway": "", "dns": []}
DHCP: Final = {"interface": "wired0", "method": "dhcp"}


@pytest.fixture(params=MANAGERS, ids=lambda manager: manager.part)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device with each manager."""
    if reason := missing(request.param.part):
        pytest.skip(reason)
    with managed(request.param) as made:
        yield made


def test_settings_when_a_manager_has_the_interface_then_they_are_in_force_reported_and_come_back(
    device: Device,
) -> None:
    """The kernel's own address and way, the name servers, and what settings-read says of them; twice is no failure."""
    before = device.files()
    new = {"hostname": "pump-7", "network": NEW}
    assert device.must("settings-read")["values"] == {"hostname": "before", "network": OLD}
    device.must("settings-apply", {"values": new})
    device.wait_for(NEW)
    assert device.must("settings-read")["values"] == new
    for _ in range(2):
        device.must("settings-revert")
        device.wait_for(OLD)
        assert device.must("settings-read")["values"] == {"hostname": "before", "network": OLD}
        assert device.files() == before


@pytest.mark.real("ifup")
@pytest.mark.parametrize("how", ["auto", "allow-hotplug"])
def test_settings_when_ifupdown_has_the_interface_under_systemd_then_its_units_bring_it_up_and_none_fails(
    how: str,
) -> None:
    """Brought up by all at once or by its own unit: the other would fail, and the device no longer call itself well."""
    path = "network/interfaces"
    brought_up = IFUPDOWN._replace(
        files={**IFUPDOWN.files, path: IFUPDOWN.files[path].replace("auto wired0", f"{how} wired0")}
    )
    with managed(brought_up, begins_with=OLD if how == "auto" else {**NOTHING, "dns": OLD["dns"]}) as device:
        before = device.files()
        for verb, network in (("settings-apply", NEW), ("settings-revert", OLD), ("settings-revert", OLD)):
            device.must(verb, {"values": {"network": NEW}})
            device.wait_for(network)
            services = next(one for one in device.must("health")["checks"] if one["name"] == "services")
            assert services == {"name": "services", "ok": True, "seen": "0 failed"}
        assert device.files() == before


@pytest.mark.real("ifup")
def test_settings_when_another_interface_fails_under_ifupdown_then_this_one_is_set_and_put_back_all_the_same() -> None:
    """One that is not there today, and systemd calls the whole network failed: it stops nothing then, and starts nothing well."""
    path = "network/interfaces"
    absent = "\nauto absent0\niface absent0 inet static\n    address 10.5.5.5/24\n"
    with managed(IFUPDOWN._replace(files={**IFUPDOWN.files, path: IFUPDOWN.files[path] + absent})) as device:
        before = device.files()
        device.must("settings-apply", {"values": {"network": NEW}})
        device.wait_for(NEW)
        for _ in range(2):
            device.must("settings-revert")
            device.wait_for(OLD)
        assert device.files() == before


def test_settings_when_the_same_come_again_then_nothing_changes_and_the_next_are_put_back_to_them(
    device: Device,
) -> None:
    """Confirmed ones, asked for once more; then others that are not confirmed."""
    device.must("settings-apply", {"values": {"network": NEW}})
    device.wait_for(NEW)
    before = device.files()
    device.must("settings-apply", {"values": {"network": NEW}, "base": NEXT})
    device.wait_for(NEW)
    assert device.files() == before
    device.must("settings-apply", {"values": {"network": OTHER}, "base": NEXT})
    device.wait_for(OTHER)
    for _ in range(2):
        device.must("settings-revert", {"base": NEXT})
        device.wait_for(NEW)
        assert device.files() == before


@pytest.mark.real(MANAGERS[1].part)
def test_settings_read_when_resolv_conf_is_systemd_resolveds_then_the_servers_behind_it_are_said() -> None:
    """Its files as systemd-resolved(8) has them; else what is wanted and what is reported would differ for ever."""
    with managed(MANAGERS[1]) as device:
        folder = device.machine.inside("/run/systemd/resolve")
        folder.mkdir()
        write_whole(folder / "stub-resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
        write_whole(folder / "resolv.conf", "nameserver 10.1.1.2\n")
        device.machine.must("ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
        assert device.must("settings-read")["values"] == {"hostname": "before", "network": OLD}


def test_settings_when_they_are_not_possible_then_nothing_is_changed(device: Device) -> None:
    """Also where the manager leaves the interface alone."""
    before = device.files()
    refused = {
        "hook.bad-arguments": ({**NEW, "address": "10.9.8.7"}, {**NEW, "interface": "absent0"}),
        "hook.not-possible": ({**NEW, "interface": "far0"},),
    }
    for code, network in ((code, network) for code, networks in refused.items() for network in networks):
        ran = device.apply(network, hostname="pump-7")
        assert (ran["code"], ran["said"] != "") == (code, True), ran
        assert (device.files(), device.network()) == (before, OLD)


@pytest.mark.real("dnsmasq")
def test_settings_when_they_come_from_dhcp_then_the_lease_is_in_force_and_reported(device: Device) -> None:
    """From a static address to a server's and back; under systemd-networkd alone nobody writes down a server's name servers."""
    device.answer_dhcp()
    device.must("settings-apply", {"values": {"network": DHCP}})
    wait_until(lambda: device.network()["address"].startswith(LEASED), 30, "an address of the server's")
    leased = {**device.network(), "method": "dhcp"}
    assert leased["gateway"] == f"{LEASED}1"
    assert device.must("settings-read")["values"] == {"hostname": "before", "network": leased}
    if device.manager.part == "NetworkManager":
        assert leased["dns"] == [f"{LEASED}2"]
    device.must("settings-revert")
    device.wait_for(OLD)


def test_settings_when_they_lead_nowhere_then_revert_brings_the_old_ones_back(device: Device) -> None:
    """A DHCP that nobody answers: NetworkManager says so, systemd-networkd goes on asking."""
    before = device.files()
    ran = device.apply(DHCP)
    assert ran["code"] == ("hook.failed" if device.manager.part == "NetworkManager" else None), ran
    wait_until(lambda: device.network()["address"] == "", 20, "the old address to be gone")
    device.must("settings-revert")
    device.wait_for(OLD)
    assert device.files() == before


@pytest.mark.real(MANAGERS[0].part)
def test_settings_when_the_cable_is_out_then_the_old_ones_are_put_back_and_in_force_once_it_is_in() -> None:
    """Nothing can be brought up then, and NetworkManager says so; that is no failure of putting back."""
    with managed(MANAGERS[0]) as device:
        device.must("settings-apply", {"values": {"network": NEW}})
        device.machine.must("ip", "link", "set", "far0", "down")
        wait_until(lambda: device.network()["gateway"] == "", 20, "the way to be gone")
        device.must("settings-revert")
        device.machine.must("ip", "link", "set", "far0", "up")
        device.wait_for(OLD)


def test_settings_when_nobody_answers_the_old_ones_then_they_are_put_back_all_the_same(device: Device) -> None:
    """The maker's DHCP is away for a while: the manager goes on asking, and nothing of the trial is left."""
    for path in device.manager.files:
        if "10.1.1.5" in device.machine.inside(f"/etc/{path}").read_text():
            device.machine.file(path, device.manager.dhcp, 0o600 if path.endswith(".nmconnection") else 0o644)
    before = device.files()
    device.must("settings-apply", {"values": {"network": NEW}})
    device.wait_for(NEW)
    device.must("settings-revert")
    wait_until(lambda: device.network()["address"] == "", 20, "the trial's address to be gone")
    assert device.files().keys() == before.keys()


@pytest.mark.parametrize(
    ("verb", "step"), [("settings-apply", "written"), ("settings-apply", "told"), ("settings-revert", "written")]
)
def test_settings_when_power_fails_in_the_middle_then_the_old_ones_are_put_back_after_the_boot(
    device: Device, verb: str, step: str
) -> None:
    """Before the file has its name, and before the manager hears of it; nothing half-done is left on the disk."""
    before = device.files()
    if verb == "settings-revert":
        device.must("settings-apply", {"values": {"network": NEW}})
        device.wait_for(NEW)
    program, words = device.manager.stops[verb, step]
    device.stop_hook_at(program, words)
    ran = device.run(verb, {"values": {"hostname": "pump-7", "network": NEW}})
    assert ran["code"] == "hook.failed", ran
    device.reboot()
    device.must("settings-revert")
    device.wait_for(OLD)
    assert device.files() == before
    device.reboot()
    device.wait_for(OLD)


@pytest.mark.real("NetworkManager")
def test_settings_when_nobody_has_set_the_interface_then_no_file_stays_and_the_device_is_not_left_without_a_way() -> (
    None
):
    """NetworkManager asks for DHCP then, by a profile that it makes when it starts, and not where another is there."""
    by_itself = MANAGERS[0]._replace(files={p: text for p, text in MANAGERS[0].files.items() if "wired" not in p})
    with managed(by_itself, begins_with=NOTHING) as device:
        before = device.files()
        device.must("settings-apply", {"values": {"network": NEW}})
        device.wait_for(NEW)
        device.reboot()
        device.wait_for(NEW)
        for _ in range(2):
            device.must("settings-revert")
            wait_until(lambda: device.network() == NOTHING, 20, "the trial to be gone")
            tries = ("nmcli", "-g", "CONNECTIONS.AVAILABLE-CONNECTIONS", "device", "show", "wired0")
            assert device.machine.must(*tries) != "\n"
            assert device.files().keys() == before.keys()


def test_settings_when_power_fails_after_them_then_they_are_on_the_disk_and_can_still_be_put_back(
    device: Device,
) -> None:
    """Confirmed ones stay over a boot; ones on trial are put back after it."""
    before = device.files()
    device.must("settings-apply", {"values": {"network": NEW}})
    device.reboot()
    device.wait_for(NEW)
    device.must("settings-revert")
    device.wait_for(OLD)
    assert device.files() == before


def test_settings_when_the_manager_does_not_run_then_they_are_put_back_and_it_begins_with_them(device: Device) -> None:
    """Early in a boot nobody is there yet to be told."""
    device.must("settings-apply", {"values": {"network": NEW}})
    device.wait_for(NEW)
    device.machine.must("systemctl", "stop", device.manager.unit, "systemd-networkd.socket")
    device.must("settings-revert")
    device.machine.must("systemctl", "start", device.manager.unit)
    device.wait_for(OLD)
