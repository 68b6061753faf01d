"""Settings that cut a device off, with the real hooks and ifupdown: it comes back by itself, and the history tells the story."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.house.house import OWNER, Device, House
from tests.house.machine import CHECKOUT, PROGRAMS
from tests.house.network import DEVICE
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.feature("B7", "I10", "I15", "E9"),
    pytest.mark.real("ifup", "ip"),
]

SETTINGS_HOOKS: Final = ("settings-apply", "settings-read", "settings-revert")
GATEWAY: Final = "192.168.77.1"
NOBODY: Final = "192.168.77.9"
"""An address in the device's network that nobody has."""
OTHER: Final = "192.168.77.3"
INTERFACES: Final = f"""\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address {DEVICE}/24
    gateway {GATEWAY}
"""
CUT_OFF_S: Final = 20
"""Long enough for the broker to miss the device (one and a half times KEEPALIVE_S, and it looks every five seconds), and to be seen missing."""
KEPT_S: Final = 120
"""A trial that is confirmed is not waited for; redialling, a rehearsal and the confirmation have to fit on a busy machine."""
KEEPALIVE_S: Final = 5
DIAL: Final = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


@pytest.fixture
def settable(lab: House, device: Device) -> Iterator[Device]:
    """The lab's device, whose network is ifupdown's from its boot on, with the hooks that come along; as it was afterwards."""
    machine = device.machine
    etc = machine.folder / "etc"
    files = {name: (etc / name).read_text() for name in ("doorward/agent.toml", "doorward/runner.toml")}
    (etc / "doorward/hooks").mkdir(exist_ok=True)
    for verb in SETTINGS_HOOKS:
        shutil.copy2(CHECKOUT / "firmware-hooks" / verb, etc / "doorward/hooks" / verb)
    write_whole(etc / "network/interfaces", INTERFACES)
    write_whole(etc / "doorward/agent.toml", f"{files['doorward/agent.toml']}keepalive_s = {KEEPALIVE_S}\n")
    machine.at_boot = [("/usr/sbin/ip", "address", "flush", "dev", "eth0"), ("/usr/sbin/ifup", "--force", "eth0")]
    restart(lab, device)
    yield device
    lab.console.shut_and_wait(device.id)
    for verb in SETTINGS_HOOKS:
        (etc / "doorward/hooks" / verb).unlink()
    for name, text in files.items():
        write_whole(etc / name, text)
    write_whole(etc / "network/interfaces", INTERFACES)
    restart(lab, device)
    machine.at_boot = []


def restart(lab: House, device: Device) -> None:
    """Cut the device's power and boot it; wait until the console has heard of it since."""
    before = lab.console.get(f"/devices/{device.id}")["seen_at"]
    device.machine.cut_power()
    device.boot()
    wait_until_heard(lab, device, before)


def wait_until_heard(lab: House, device: Device, since: str) -> None:
    lab.console.wait_for_device(
        device.id, lambda said: said["presence"] == "connected" and (said["seen_at"] or "") > since, 60
    )


def limit_trials(device: Device, seconds: int) -> None:
    """Let the device try settings for so long."""
    path = device.machine.folder / "etc/doorward/runner.toml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("trial_s")]
    write_whole(path, "\n".join([*kept, f"trial_s = {seconds}\n"]))


def network(address: str, gateway: str) -> dict[str, Any]:
    return {"interface": "eth0", "method": "static", "address": f"{address}/24", "gateway": gateway, "dns": []}


def ask(lab: House, device: Device, values: dict[str, Any]) -> None:
    lab.console.put(f"/devices/{device.id}/settings", values={"network": values})


def reaches_broker(lab: House, device: Device) -> bool:
    """Tell whether the device's packets get to the broker and back."""
    address = (lab.address_of("broker"), str(lab.ports.broker))
    return device.machine.run(sys.executable, "-c", DIAL, *address).returncode == 0


def has_way_out(device: Device, address: str, gateway: str) -> bool:
    """Tell whether the device's kernel has this address and this gateway; in the middle of a change it has neither."""
    route = device.machine.must("/usr/sbin/ip", "-4", "route", "show", "default")
    said = device.machine.must("/usr/sbin/ip", "-4", "-o", "address", "show", "dev", "eth0")
    return f"via {gateway} " in route and f" {address}/24 " in said


def whole_history(lab: House, device: Device) -> list[dict[str, Any]]:
    """Read every page: a device that is started again and again fills the newest one with other things."""
    lines: list[dict[str, Any]] = []
    page: dict[str, Any] = {"has_older": True, "page": 0}
    while page["has_older"]:
        address = f"/projects/{lab.console.project}/history"
        page = lab.console.get(address, action="all", device=device.id, page=page["page"] + 1)
        lines += page["lines"]
    return lines


def story(lab: House, device: Device) -> list[tuple[str, str | None, str | None]]:
    """Give what the history says of the last settings, oldest first: verb, who asked, and the reason's code."""
    lines = [line for line in whole_history(lab, device) if line["verb"].startswith("settings.")]
    asked = next(n for n, line in enumerate(lines) if line["verb"] == "settings.asked")
    return [(line["verb"], line["by"], line["data"].get("code")) for line in reversed(lines[: asked + 1])]


def wait_for_story(
    lab: House, device: Device, end: str, limit_s: float = 20
) -> list[tuple[str, str | None, str | None]]:
    """Wait until the last settings' story ends with this verb, signed."""
    lab.console.wait_for_history((end,), device.id, limit_s)
    wait_until(lambda: story(lab, device)[-1][0] == end, limit_s, f"the story to end with {end}: {story(lab, device)}")
    return story(lab, device)


def test_settings_when_they_cut_the_device_off_then_it_comes_back_by_itself_and_the_history_tells_it(
    lab: House, settable: Device
) -> None:
    """A gateway that nobody is: no packet gets out, and nobody helps; within its limit the device is there, and its door opens."""
    limit_trials(settable, CUT_OFF_S)
    cut_off(lab, settable)
    away = lab.console.wait_for_device(settable.id, lambda said: said["presence"] == "away", CUT_OFF_S + 20)
    wait_until_heard(lab, settable, away["presence_at"])
    assert has_way_out(settable, DEVICE, GATEWAY)
    assert wait_for_story(lab, settable, "settings.reverted") == [
        ("settings.asked", OWNER, None),
        ("settings.begun", None, None),
        ("settings.trying", None, None),
        ("settings.reverted", None, "settings.unconfirmed"),
    ]
    lab.console.open_door(settable.id)
    lab.console.wait_for_door(settable.id, "open")
    assert lab.verify_history(lab.export_history())["holds"] is True


def test_settings_when_power_fails_while_the_device_is_cut_off_then_it_boots_with_the_old_ones_and_tries_them_no_more(
    lab: House, settable: Device
) -> None:
    """Its boot brings up what is on the disk, which is the bad trial; then root's own step puts the old ones back, at once.

    Nor when they are told again, signed anew, because the agent has forgotten what became of them: the runner has not.
    """
    limit_trials(settable, KEPT_S)
    cut_off(lab, settable)
    assert f"gateway {NOBODY}" in (settable.machine.folder / "etc/network/interfaces").read_text()
    settable.machine.cut_power()
    settable.machine.power_on()
    settable.machine.must(PROGRAMS / "doorward-runner", "clear")  # root's own step, and no agent yet that would ask
    assert has_way_out(settable, DEVICE, GATEWAY)
    restart(lab, settable)
    assert has_way_out(settable, DEVICE, GATEWAY)
    assert f"gateway {NOBODY}" not in (settable.machine.folder / "etc/network/interfaces").read_text()
    told = wait_for_story(lab, settable, "settings.reverted")
    assert (told[0], told[-1]) == (("settings.asked", OWNER, None), ("settings.reverted", None, "settings.rebooted"))
    restart(lab, settable)  # it asks anew, and what it is told after that is its door alone
    lab.console.open_door(settable.id)
    lab.console.wait_for_door(settable.id, "open")
    assert story(lab, settable) == told
    assert has_way_out(settable, DEVICE, GATEWAY)
    lab.console.shut_and_wait(settable.id)
    (settable.machine.folder / "var/lib/doorward/settings.json").unlink()
    restart(lab, settable)
    again = [*told, ("settings.begun", None, None), ("settings.reverted", None, "settings.rebooted")]
    wait_until(lambda: story(lab, settable) == again, 30, f"the device to say again that they were put back: {again}")
    assert has_way_out(settable, DEVICE, GATEWAY)
    assert f"gateway {NOBODY}" not in (settable.machine.folder / "etc/network/interfaces").read_text()


def test_settings_when_the_device_is_reached_with_them_then_they_are_confirmed_and_kept(
    lab: House, settable: Device
) -> None:
    """Another address: the old connection dies, the device dials anew, rehearses, and is confirmed; so it stays over a boot."""
    limit_trials(settable, KEPT_S)
    ask(lab, settable, network(OTHER, GATEWAY))
    assert [verb for verb, _, _ in wait_for_story(lab, settable, "settings.applied", KEPT_S)] == [
        "settings.asked", "settings.begun", "settings.trying", "settings.confirmed", "settings.applied",
    ]  # fmt: skip
    assert has_way_out(settable, OTHER, GATEWAY)
    assert "rehearse" in {line["data"]["verb"] for line in lab.console.lines("command.done", settable.id)}
    restart(lab, settable)
    assert has_way_out(settable, OTHER, GATEWAY)
    lab.console.open_door(settable.id)
    lab.console.wait_for_door(settable.id, "open")


def cut_off(lab: House, device: Device) -> None:
    """Give the device a gateway that nobody is, and wait until none of its packets gets out."""
    ask(lab, device, network(DEVICE, NOBODY))
    wait_until(lambda: has_way_out(device, DEVICE, NOBODY), 30, "the settings to be in force")
    assert not reaches_broker(lab, device)
