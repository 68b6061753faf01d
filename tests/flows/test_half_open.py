"""A device that vanished without a word, and one on a poor line: the first loses its port, the second keeps it."""

import time

import pytest

from tests.flows.test_bad_days import tunnel_port
from tests.house.house import Device, House
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(240)
"""A house is built within the first test, and half-open links have to be waited for."""

HALF_OPEN_S = 35
POOR_S = 45
"""Longer than it takes to find a dead tunnel, with time for a keep-alive before."""


@pytest.mark.feature("E9", "B5")
def test_device_when_its_packets_vanish_and_an_engineer_keeps_knocking_then_its_port_is_free_soon(
    house: House, device: Device
) -> None:
    """sshd would hold the port as long as somebody tries; the reaper's proof is that nothing is acknowledged."""
    assert house.network is not None
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.network.weather.black_hole("device")

    def is_free() -> bool:
        assert not house.banner(house.ports.door)  # the engineer's attempt
        return not house.listens(house.ports.door)

    wait_until(is_free, HALF_OPEN_S, "the port to be free")
    house.console.wait_for_history(["tunnel.dead", "tunnel.down"], device.id)


@pytest.mark.feature("E9", "B5")
def test_device_when_every_fifth_packet_is_lost_each_way_then_its_tunnel_stays(house: House, device: Device) -> None:
    """Loss makes a link slow, not dead: the device keeps the very same connection, although people knock."""
    assert house.network is not None
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    before = tunnel_port(house, device)
    house.network.weather.loss("device", 20)
    until, answered = time.monotonic() + POOR_S, 0
    while time.monotonic() < until:
        answered += bool(house.banner(house.ports.door))
    house.network.weather.restore()
    assert answered
    assert tunnel_port(house, device) == before
    wait_until(lambda: house.banner(house.ports.door), 30, "the door to answer as before")
