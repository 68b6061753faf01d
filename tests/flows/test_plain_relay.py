"""Any sshd is a relay: E2 from the pasted host key to the engineer's log-in, with real machines and nothing of ours there."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.flows.test_commands import ask, wait_for
from tests.house.house import Device, House
from tests.house.plain import USER, PlainRelay, plain_relay_in
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def customer(built_house: House) -> PlainRelay:
    """A customer's machine, set up once."""
    return plain_relay_in(built_house)


@pytest.fixture
def plain(house: House, device: Device, customer: PlainRelay) -> Iterator[PlainRelay]:
    """The customer's relay with its sshd running, added in the console, and the device's way through it."""
    way = f"/devices/{device.id}/way"
    customer.restart()
    customer.install("")
    house.console.put(way, relay=customer.add(), port=customer.door_port)
    try:
        yield customer
    finally:
        house.console.shut_and_wait(device.id)
        house.console.put(way, relay=house.relay_id, port=house.ports.door)
        house.console.delete(f"/relays/{customer.id}")
        customer.cut()


@pytest.mark.feature("E2", "E3", "E4")
def test_plain_relay_when_its_line_is_installed_then_the_toggle_opens_and_shuts_the_door(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """One line in authorized_keys, four in sshd_config: ON turns green, the printed line logs in, OFF shuts."""
    plain.install(plain.line(str(plain.door_port)))
    house.console.open_door(device.id, reason="ticket 4711")
    door = house.console.wait_for_door(device.id, "open")
    assert (door["lines"]["host"], door["lines"]["port"]) == (house.address, plain.door_port)
    status, said = house.log_in(device, "id -un; hostname", plain.door_port)
    assert (status, said.split()[0]) == (0, "remote-admin"), said
    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    assert not house.listens(plain.door_port)


@pytest.mark.feature("E2")
def test_plain_relay_with_gatewayports_no_then_never_green_and_failed_says_what_to_change(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """A granted forward proves nothing: on loopback it stays yellow, and after the limit the reason names GatewayPorts."""
    plain.install(plain.line(str(plain.door_port)))
    plain.restart("GatewayPorts no")
    house.console.open_door(device.id)
    why = wait_until(lambda: house.console.door(device.id)["why"], 30, "a reason")
    assert why["code"] == "probe.not-public"
    assert "GatewayPorts yes" in why["next"]
    assert plain.machine.must("/bin/ss", "-Hltn", f"sport = :{plain.door_port}").split()[3].startswith("127.0.0.1")
    let_time_pass(house, device)
    failed = house.console.wait_for_door(device.id, "failed")
    assert failed["why"]["code"] == "probe.not-public"
    assert failed["opened_at"] is None


@pytest.mark.feature("E2")
def test_plain_relay_with_gatewayports_clientspecified_then_it_opens(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """The other setting that E2 allows: the device asks for the public address by itself."""
    plain.install(plain.line(str(plain.door_port)))
    plain.restart("GatewayPorts clientspecified")
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")


@pytest.mark.feature("E2")
def test_plain_relay_without_the_line_then_not_green_and_green_once_it_is_installed(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """The device's own word is shown with a next step for a plain relay; the line put in place, the door opens by itself."""
    house.console.open_door(device.id)
    why = wait_for_reason(house, device, "tunnel.not-admitted")
    assert "authorized_keys" in why["next"]
    plain.install(plain.line(str(plain.door_port)))
    house.console.wait_for_door(device.id, "open", 90)


@pytest.mark.feature("E2")
def test_plain_relay_whose_line_lacks_the_port_then_refused_until_it_is_downloaded_again(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """A port added after the line was installed is refused, exactly; the line downloaded again, it is given."""
    plain.install(plain.line("22001"))
    house.console.open_door(device.id)
    why = wait_for_reason(house, device, "tunnel.port-refused")
    assert "relay-server-<id>.key" in why["next"]
    plain.install("")
    plain.install(plain.line(""))
    house.console.wait_for_door(device.id, "open", 90)


@pytest.mark.feature("E2")
@pytest.mark.threat("relay-host-key")
def test_plain_relay_that_shows_another_host_key_then_nothing_is_sent_to_it(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """The pasted key is the pin: a machine with another one is refused before the device authenticates."""
    plain.install(plain.line(str(plain.door_port)))
    ours, another = plain.host_key, house.relay_machine.must("/bin/sh", "-c", "cat /etc/ssh/ssh_host_ed25519_key.pub")
    keys = {"name": "Customer", "host": house.address, "ssh_port": plain.port, "user": USER}
    house.console.put(f"/relays/{plain.id}/plain", **keys, ssh_host_keys=[another])
    house.console.open_door(device.id)
    why = wait_for_reason(house, device, "tunnel.host-key")
    assert "fingerprint" in why["next"]
    assert plain.sshd is not None
    assert "Accepted" not in plain.sshd.log_text()
    house.console.shut_and_wait(device.id)
    house.console.put(f"/relays/{plain.id}/plain", **keys, ssh_host_keys=[ours])
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")


@pytest.mark.feature("E2", "E3")
def test_plain_relay_when_another_service_has_the_port_then_never_green(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """Somebody else's banner, even an ssh server's, is not this session's door."""
    plain.install(plain.line(str(plain.door_port)))
    plain.machine.start("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/plain_config", "-p", str(plain.door_port))
    wait_until(lambda: house.listens(plain.door_port), 10, "the other service")
    house.console.open_door(device.id)
    seen = wait_until(lambda: codes_seen(house, device) >= {"probe.other-banner", "tunnel.port-refused"}, 30, "both")
    assert seen
    assert house.console.door(device.id)["opened_at"] is None
    house.console.shut_and_wait(device.id)


@pytest.mark.feature("E2", "E3")
def test_plain_relay_that_goes_away_while_open_then_green_is_withdrawn_and_comes_back(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """The relay's machine loses power: the page is not green any more, and is again once the relay is back."""
    plain.install(plain.line(str(plain.door_port)))
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    plain.cut()
    lost = house.console.wait_for_door(device.id, "opening", 60)
    assert lost["why"]["code"] == "session.lost"
    plain.restart()
    house.console.wait_for_door(device.id, "open", 90)


@pytest.mark.feature("E2", "E5")
def test_off_when_the_device_cannot_be_reached_then_closing_until_its_signed_word(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """A plain relay has no second closer: with the broker gone the page says closing, and not shut, until the device has signed."""
    plain.install(plain.line(str(plain.door_port)))
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.stop("broker")
    house.console.shut_door(device.id)
    assert house.console.wait_for_door(device.id, "closing")
    assert house.banner(plain.door_port)
    assert house.console.door(device.id)["state"] == "closing"
    house.start_broker()
    house.console.wait_for_door(device.id, "shut", 60)
    assert not house.listens(plain.door_port)


@pytest.mark.feature("E2", "E9")
def test_off_after_the_device_lost_its_power_then_shut_once_it_is_back_and_has_signed(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """A device that was cut off while open says after its boot that it will not open that session again."""
    plain.install(plain.line(str(plain.door_port)))
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    device.machine.cut_power()
    house.console.shut_door(device.id)
    assert house.console.wait_for_door(device.id, "closing")
    device.boot()
    house.console.wait_for_door(device.id, "shut", 60)


def wait_for_reason(house: House, device: Device, code: str) -> dict[str, str]:
    """Wait until the door says ``code``; gives the reason."""

    def is_so() -> dict[str, str] | None:
        why: dict[str, str] | None = house.console.door(device.id)["why"]
        return why if why and why["code"] == code else None

    found = wait_until(is_so, 30, code)
    assert house.console.door(device.id)["opened_at"] is None
    assert isinstance(found, dict)
    return found


def codes_seen(house: House, device: Device) -> set[str]:
    """Give the codes of all steps of the opening so far."""
    return {step["code"] for step in house.console.door(device.id)["steps"] if step["code"]}


def let_time_pass(house: House, device: Device) -> None:
    """Make all that happened older, so that the opening is past the limit after which it is given up."""
    at = house.console_machine.folder / "var/lib/doorward-console/console.sqlite3"
    with closing(sqlite3.connect(at, timeout=20)) as database, database:
        database.execute("UPDATE maintenance_session SET requested_at = datetime(requested_at, '-11 minutes')")
        database.execute(
            "UPDATE fleet_device SET presence_at = datetime(presence_at, '-11 minutes') WHERE id = ?", (device.id,)
        )


@pytest.mark.feature("B10")
@pytest.mark.threat("relay-gives-in-rehearsal")
def test_plain_relay_when_a_device_rehearses_then_its_line_alone_decides(
    house: House, device: Device, plain: PlainRelay
) -> None:
    """Without the line nobody is admitted; with it all goes well; with a line that names no port, the relay gives any, loudly."""
    ended = wait_for(house, device, ask(house, device, "rehearse"), "failed")
    assert ended["why"]["code"] == "tunnel.not-admitted"
    line = plain.line(str(plain.door_port))
    plain.install(line)
    ended = wait_for(house, device, ask(house, device, "rehearse"), "done")
    assert ended["result"]["steps"][-1]["step"] == "refusal"
    plain.install("")
    plain.install(line.replace(f',permitlisten="{plain.door_port}"', ""))
    ended = wait_for(house, device, ask(house, device, "rehearse"), "failed")
    assert ended["why"]["code"] == "rehearsal.granted"
    said = house.console.get(f"/devices/{device.id}/rehearsal")
    assert (said["opens"], said["step"]) == (False, "being refused a port")
