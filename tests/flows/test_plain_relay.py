"""Any sshd is a relay: E2 from the pasted host key to the engineer's log-in, with real machines and nothing of ours there."""

from collections.abc import Iterator

import pytest

from tests.house.house import Device, House
from tests.house.plain import PlainRelay, plain_relay_in

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
