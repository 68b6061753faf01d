"""A session's end with named forwards open: whoever is left closes every port of it on the relay, and who is connected is out."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest

from tests.flows.test_closers import freeze, thaw
from tests.house.house import Device, House
from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("B4", "R6")]

NEIGHBOUR = "192.168.77.1"
"""Another machine in the device's network: behind the NAT, and not the device."""
NAMES = ("database", "camera")
LASTS_S = 12
"""Long enough to open three ports and connect on a busy machine, short enough to wait for."""
CLOSED_WITHIN_S = 10
SERVICE = """
import socket, sys
listener, visitors = socket.create_server((sys.argv[1], int(sys.argv[2]))), []
print("ready", flush=True)
while True:
    visitors.append(listener.accept()[0])
    visitors[-1].sendall(b"good")
"""
"""Greets, and keeps who has come."""


@dataclass(slots=True)
class Opened:
    """A session with its door and two named forwards, and an engineer's program that is connected through one of them."""

    house: House
    device: Device
    visitor: socket.socket
    ends_at: datetime

    def listening(self) -> list[int]:
        return [port for port in (self.house.ports.door, *self.house.ports.named) if self.house.listens(port)]

    def wait_for_the_end(self) -> None:
        """Wait until nothing of it is left at the relay, from its end on no longer than may be."""
        left_s = (self.ends_at - datetime.now(timezone.utc)).total_seconds()
        wait_until(lambda: not self.listening(), left_s + CLOSED_WITHIN_S, "every port of the session to be closed")
        with suppress(ConnectionError):
            assert self.visitor.recv(100) == b"", "who was connected still is"


@pytest.fixture(scope="module")
def named(built_house: House) -> Iterator[None]:
    """The house's device leads to two names in its network, each with a port of the managed relay's."""
    house, device = built_house, built_house.device
    assert house.network is not None
    port = free_port()
    wired = ["/usr/bin/nsenter", f"--net=/proc/{house.network.router}/ns/net", "--"]
    service = house.programs.start(*wired, sys.executable, "-c", SERVICE, NEIGHBOUR, str(port), name="service")
    service.wait_for(lambda: "ready" in service.log_text())
    config = device.machine.folder / "etc/doorward/agent.toml"
    before, target = config.read_text(), f"tcp:{NEIGHBOUR}:{port}"
    table = "".join(f'{name} = "{target}"\n' for name in NAMES)
    write_whole(config, f"{before}\n[forwards]\n{table}")
    restart_agent(device)
    forwards = f"/devices/{device.id}/forwards"
    wait_until(
        lambda: [one["offered"] for one in house.console.get(forwards)] == [target] * 2, 30, "the device's offer"
    )
    for name, relay_port in zip(NAMES, house.ports.named, strict=True):
        house.console.put(f"{forwards}/{name}", port=relay_port, bind="*")
    yield
    house.console.shut_and_wait(device.id)
    for name in NAMES:
        house.console.delete(f"{forwards}/{name}")
    write_whole(config, before)
    restart_agent(device)
    service.kill()


@pytest.fixture
def opened(house: House, device: Device, named: None) -> Iterator[Opened]:
    """A short session, all of it open."""
    house.console.open_door(device.id, duration_s=LASTS_S, forwards=[*NAMES])
    door = house.console.wait_for_door(device.id, "open")
    wait_until(lambda: all(map(house.listens, house.ports.named)), LASTS_S, "the named forwards")
    assert house.network is not None
    with house.network.call(lambda: socket.create_connection((house.address, house.ports.named[0]), 20)) as visitor:
        visitor.settimeout(20)
        assert visitor.recv(100) == b"good"
        yield Opened(house, device, visitor, datetime.fromisoformat(door["ends_at"].replace("Z", "+00:00")))


def restart_agent(device: Device) -> None:
    assert device.agent is not None
    device.agent.end()
    device.start_agent()


@pytest.mark.threat("ends-device-alone")
def test_forwards_when_console_and_relay_do_nothing_then_the_device_closes_all_of_them_at_the_end(
    house: House, opened: Opened
) -> None:
    """With the console and the relay's daemon dead the tunnel ends from the device's side."""
    house.stop("signer", "worker", "web", "relay")
    assert len(opened.listening()) == 3
    opened.wait_for_the_end()


@pytest.mark.parametrize("frozen", ["agent", "everything"])
def test_forwards_when_console_and_device_do_nothing_then_the_relay_closes_all_of_them_at_the_end(
    house: House, device: Device, opened: Opened, frozen: str
) -> None:
    """With the console dead and the agent alone frozen, whose ssh goes on, or all of the device, the managed relay ends the tunnel."""
    house.stop("signer", "worker", "web")
    assert device.agent is not None
    stopped = freeze(device) if frozen == "everything" else [device.agent.pid]
    os.kill(device.agent.pid, signal.SIGSTOP)
    try:
        assert len(opened.listening()) == 3
        opened.wait_for_the_end()
    finally:
        thaw(device, stopped)
