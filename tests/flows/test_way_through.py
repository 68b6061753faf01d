"""The one way: a toggle opens a door into a device behind NAT, an engineer logs in, the toggle shuts it."""

import json
import re

import pytest

from tests.house.api import Declined
from tests.house.house import OWNER, Device, House
from tests.house.network import DEVICE
from tests.parts.ports import is_listening
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.mark.feature("E3", "E4", "E8", "R1", "P11", "B2", "B3")
def test_toggle_on_then_an_engineer_logs_in_and_off_shuts_it(house: House, device: Device) -> None:
    """ON turns green once the door's own banner came back; the plain client logs in; OFF leaves nothing listening."""
    house.console.open_door(device.id, reason="ticket 4711")
    door = house.console.wait_for_door(device.id, "open")
    assert door["asked_by"] == OWNER
    assert door["lines"]["port"] == house.ports.door
    status, said = house.log_in(device, "id -un; hostname -I")
    assert (status, said.split()[0]) == (0, "remote-admin")
    assert DEVICE in said, "that was another machine"

    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    assert not house.listens(house.ports.door)
    assert "doorward_door" not in device.machine.must("/bin/ps", "axww", "-o", "cmd")
    assert "remote-admin" not in device.machine.must("/bin/ps", "ax", "-o", "user:20")


@pytest.mark.feature("E8", "R1")
def test_device_when_looked_at_from_outside_then_nothing_of_it_can_be_reached(house: House, device: Device) -> None:
    """A device behind NAT has no listening socket but on its own loopback, and outside there is no way to it."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    listening = device.machine.must("/bin/ss", "-Hltn").split("\n")
    assert any(listening), "not even the door listens"
    assert all(line.split()[3].startswith("127.0.0.1:") for line in listening if line)
    assert house.network is not None
    port = int(next(line.split()[3] for line in listening if line).rpartition(":")[2])
    assert not house.network.call(lambda: is_listening(port, DEVICE))


@pytest.mark.feature("E6", "B6")
def test_history_when_a_door_was_open_then_it_says_who_when_and_verifies_offline(house: House, device: Device) -> None:
    """The history names who turned it on and off and when, device and relay countersign, an outsider can check it."""
    house.console.open_door(device.id, reason="pump makes noise")
    house.console.wait_for_door(device.id, "open")
    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    house.console.wait_for_history(("session.closed", "door.closed", "grant.ended"), device.id)
    on = next(line for line in house.console.lines("session.on", device.id) if line["data"]["reason"])
    assert (on["sentence"], on["by"]) == ("ON: Start Remote M.", OWNER)
    assert on["data"]["reason"] == "pump makes noise"
    verified = house.verify_history(house.export_history())
    assert verified["holds"] is True
    authors = {str(chain["author"]).partition(":")[0] for chain in verified["chains"]}  # type: ignore[attr-defined]
    assert authors == {"console", "device", "relay"}


@pytest.mark.feature("B6")
@pytest.mark.parametrize("verb", ["session.on", "door.opened", "tunnel.up"])
def test_history_when_a_line_is_cut_out_then_the_verifier_says_where(house: House, device: Device, verb: str) -> None:
    """Whoever cuts one line out of an export, of whichever author, is found out, with the place."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.console.shut_and_wait(device.id)
    house.console.wait_for_history(("session.closed", "door.closed", "grant.ended"), device.id)
    export = house.export_history()
    lines = export.read_text().splitlines()
    import base64

    def verb_of(line: str) -> str:
        document = json.loads(line)
        payload = document.get("payload") or document.get("envelope", {}).get("payload", "")
        return str(json.loads(base64.b64decode(payload) or b"{}").get("verb"))

    victim = next(index for index, line in enumerate(lines) if verb_of(line) == verb)
    export.write_text("\n".join(lines[:victim] + lines[victim + 1 :]) + "\n")
    with pytest.raises(AssertionError, match=r"holds.*false|does not hold|breaks"):
        house.verify_history(export)


@pytest.mark.feature("E3")
def test_two_devices_when_given_one_port_then_the_second_is_refused(house: House, device: Device) -> None:
    """Two devices on one relay and port are refused, in a sentence."""
    with pytest.raises(Declined) as refused:
        house.console.add_device("pump-8", house.relay_id, house.ports.door)
    assert refused.value.code
    assert re.search(r"port", str(refused.value))


@pytest.mark.feature("I9")
def test_device_when_it_joined_then_the_console_knows_its_facts(house: House, device: Device) -> None:
    """A device registers itself: agent version, system and firmware stand in the console without anyone typing them."""
    said = house.console.get(f"/devices/{device.id}")
    assert said["agent_version"] == "0.1.0"
    assert {"hostname", "os", "arch"} <= set(said["facts"])
    assert said["clock_skew_ms"] is not None


@pytest.mark.feature("E9")
@pytest.mark.parametrize("program", ["ssh", "scp", "sftp", "rsync"])
def test_engineers_programs_when_the_door_is_open_then_each_goes_through(
    house: House, device: Device, program: str
) -> None:
    """ssh, scp, sftp and rsync go through with the printed line and its known_hosts."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    options = house.ssh_options(device.id)
    port, target = str(house.ports.door), f"remote-admin@{house.address}"
    sent = house.folder / "sent"
    sent.write_bytes(bytes(range(256)) * 4096)
    commands = {
        "ssh": ["/usr/bin/ssh", *options, "-p", port, target, "cat > arrived"],
        "scp": ["/usr/bin/scp", *options, "-P", port, str(sent), f"{target}:arrived"],
        "sftp": ["/usr/bin/sftp", *options, "-P", port, "-b", "-", target],
        "rsync": ["/usr/bin/rsync", "-e", " ".join(["ssh", *options, "-p", port]), str(sent), f"{target}:arrived"],
    }
    stdin = {"ssh": sent.read_bytes(), "sftp": f"put {sent} arrived\n".encode()}.get(program, b"")
    status, said = house.engineer(commands[program], stdin)
    assert status == 0, said
    arrived = device.machine.folder / "home/remote-admin/arrived"
    assert arrived.read_bytes() == sent.read_bytes()
    arrived.unlink()


@pytest.mark.feature("I10")
def test_settings_when_asked_for_then_the_device_has_them_also_when_it_was_off(house: House, device: Device) -> None:
    """Settings asked for while a device is off are fetched at its boot; they are tried, kept, reported back and told."""
    path = f"/devices/{device.id}/settings"
    for wanted in ({"hostname": "pump-seven"}, {"hostname": "pump-while-away"}):
        is_off = wanted["hostname"] == "pump-while-away"
        if is_off:
            device.machine.cut_power()
        house.console.put(path, values=wanted)
        if is_off:
            device.boot()
        wait_until(lambda: house.console.get(path)["is_applied"], 60, "the settings to be applied")
        assert house.console.get(path)["reported"] == wanted
        assert device.machine.must("/bin/hostname").strip() == wanted["hostname"]
    told = ("settings.asked", "settings.begun", "settings.trying", "settings.confirmed", "settings.applied")
    house.console.wait_for_history(told, device.id)


@pytest.mark.feature("I10", "B7")
def test_settings_when_the_device_finds_them_wrong_then_they_are_never_called_applied(
    house: House, device: Device
) -> None:
    """Held and reported is not in force: its own hook said no."""
    path = f"/devices/{device.id}/settings"
    wanted = {"network": {"interface": "eth9", "method": "static", "address": "10.9.8.7/24"}}
    house.console.put(path, values=wanted)
    house.console.wait_for_history(["settings.reverted"], device.id, 60)
    said = house.console.get(path)
    assert (said["reported"], said["is_applied"]) == (wanted, False)
