"""Named forwards through the whole house: a service in the device's network, reached by an engineer through a relay that is any sshd."""

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_commands import ask, wait_for
from tests.house.house import AGENT_TOML, Device, House
from tests.house.machine import PROGRAMS
from tests.house.plain import PlainRelay, plain_relay_in
from tests.parts.files import write_whole
from tests.parts.ports import free_ports, neighbours
from tests.parts.processes import Program
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.feature("R6")]

NEIGHBOUR = "192.168.77.1"
"""Another machine in the device's network: behind the NAT, and not the device."""
SERVICE = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    visitor, _ = listener.accept()
    visitor.sendall(sys.argv[3].encode())
    visitor.close()
"""


@dataclass(slots=True)
class Plant:
    """The device's network: a service on a neighbour, another with the same port on the device itself, and names for them."""

    house: House
    device: Device
    relay: PlainRelay
    good: int
    ports: dict[str, int]
    own_hosts: str

    @property
    def hosts(self) -> Path:
        return self.device.machine.folder / "etc/hosts"

    def name(self, **addresses: str) -> None:
        """Let the device's resolver answer so from now on."""
        lines = [f"{address} {name}.plant.example" for name, address in addresses.items()]
        write_whole(self.hosts, "\n".join([self.own_hosts, *lines]) + "\n", 0o644)

    def read(self, name: str) -> bytes:
        """Connect to a forward's port from outside, as an engineer's program does."""

        def read() -> bytes:
            try:
                with socket.create_connection((self.house.address, self.ports[name]), 20) as visitor:
                    visitor.settimeout(20)
                    return visitor.recv(100)
            except OSError:
                return b""

        return self.house.network.call(read) if self.house.network else read()

    def forwards(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.house.console.get(f"/devices/{self.device.id}/forwards")}

    def offers(self) -> dict[str, str]:
        return {name: one["offered"] for name, one in self.forwards().items()}

    def wait_for(self, name: str, state: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def is_so() -> bool:
            seen.update(self.forwards()[name])
            return bool(seen["state"] == state)

        try:
            wait_until(is_so, 40, f"{name} {state}")
        except AssertionError:
            raise AssertionError(f"{name} is not {state}: {seen}") from None
        return seen

    def listens(self, name: str) -> bool:
        return self.house.listens(self.ports[name])


@pytest.fixture(scope="module")
def customer(built_house: House) -> PlainRelay:
    """A customer's machine, set up once."""
    return plain_relay_in(built_house)


def serve(house: House, network: int, address: str, port: int, greeting: str) -> Program:
    """Start a service in a network, and wait until it listens."""
    wired = ["/usr/bin/nsenter", f"--net=/proc/{network}/ns/net", "--"]
    program = house.programs.start(*wired, sys.executable, "-c", SERVICE, address, str(port), greeting, name="service")
    program.wait_for(lambda: "ready" in program.log_text())
    return program


@pytest.fixture(params=["ssh", "paramiko"])
def plant(house: House, device: Device, customer: PlainRelay, request: pytest.FixtureRequest) -> Iterator[Plant]:
    """A device whose configuration names four targets, behind a plain relay whose line has a port for each."""
    assert house.network is not None
    way = f"/devices/{device.id}/way"
    customer.restart()
    customer.install("")
    house.console.put(way, relay=customer.add(), port=customer.door_port)
    good, closed = free_ports(2)
    some = neighbours(4)
    ports = dict(zip(("database", "trap", "gone", "other"), some, strict=True))
    made = Plant(house, device, customer, good, ports, (device.machine.folder / "etc/hosts").read_text())
    services = [
        serve(house, house.network.router, NEIGHBOUR, good, "good"),
        serve(house, house.network.device, "127.0.0.1", good, "trap"),
    ]
    targets = {name: f"tcp:{name}.plant.example:{good}" for name in ("database", "trap", "other")}
    targets["gone"] = f"tcp:{NEIGHBOUR}:{closed}"
    table = "\n".join(["[forwards]", *(f'{name} = "{target}"' for name, target in targets.items()), ""])
    config = device.machine.folder / "etc/doorward/agent.toml"
    before = config.read_text()
    made.name(database=NEIGHBOUR, trap="127.0.0.1", other=NEIGHBOUR)
    write_whole(config, AGENT_TOML.format(programs=PROGRAMS, tunnel=request.param) + table, 0o644)
    restart_agent(device)
    try:
        # Not the names alone: those of the test before are still known, with its targets, until the device has asked.
        wait_until(lambda: made.offers() == targets, 30, "the device's offer")
        for name, port in made.ports.items():
            house.console.put(f"/devices/{device.id}/forwards/{name}", port=port, bind="*")
        customer.install(customer.line(""))
        yield made
    finally:
        house.console.shut_and_wait(device.id)
        for name in made.ports:
            house.console.delete(f"/devices/{device.id}/forwards/{name}")
        write_whole(config, before, 0o644)
        made.name()
        restart_agent(device)
        house.console.put(way, relay=house.relay_id, port=house.ports.door)
        house.console.delete(f"/relays/{customer.id}")
        customer.cut()
        for service in services:
            service.kill()


def restart_agent(device: Device) -> None:
    assert device.agent is not None
    device.agent.end()
    device.start_agent()


@pytest.mark.threat("name-rebinds")
@pytest.mark.feature("T9")
def test_forward_through_a_plain_relay_when_device_and_console_allow_it_then_it_leads_there_until_the_door_shuts(
    plant: Plant,
) -> None:
    """Its own port and state beside a green door; what must not be reached is refused by its code; OFF shuts every port."""
    house, device = plant.house, plant.device
    tested = wait_for(house, device, ask(house, device, "test-forward", arguments={"name": "database"}), "done")
    assert (tested["result"]["address"], tested["result"]["banner"]) == (NEIGHBOUR, "good")
    tested = wait_for(house, device, ask(house, device, "test-forward", arguments={"name": "gone"}), "failed")
    assert tested["why"]["code"] == "forward.unreachable"
    house.console.open_door(device.id, forwards=["database", "gone", "trap"])
    house.console.wait_for_door(device.id, "open")
    open_one = plant.wait_for("database", "open")
    assert (open_one["place"], open_one["address"]) == (f"{house.address}:{plant.ports['database']}", NEIGHBOUR)
    assert plant.wait_for("trap", "failed")["why"]["code"] == "forward.address-not-allowed"
    assert plant.wait_for("gone", "failed")["why"]["code"] == "forward.unreachable"
    assert plant.forwards()["other"]["state"] == "shut"
    assert [plant.listens(name) for name in ("database", "trap", "gone", "other")] == [True, False, False, False]
    status, said = house.log_in(device, "id -un", plant.relay.door_port)
    assert (status, said.split()) == (0, ["remote-admin"])
    # The name leads to the device itself from now on: whoever connects still gets where it led when it was judged.
    plant.name(database="127.0.0.1", trap="127.0.0.1", other=NEIGHBOUR)
    assert device.machine.must("/usr/bin/getent", "ahostsv4", "database.plant.example").startswith("127.0.0.1")
    assert plant.read("database") == b"good"
    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    assert [plant.listens(name) for name in plant.ports] == [False] * 4
    assert not house.listens(plant.relay.door_port)
    assert {one["state"] for one in plant.forwards().values()} == {"shut"}


@pytest.mark.threat("forward-elsewhere")
def test_forward_when_the_device_has_changed_its_mind_then_it_is_refused_and_the_engineer_logs_in(plant: Plant) -> None:
    """The console signs what it was told last; the device's own file has the last word, and the door opens all the same."""
    house, device = plant.house, plant.device
    config = device.machine.folder / "etc/doorward/agent.toml"
    changed = config.read_text().replace("other.plant.example", "elsewhere.plant.example")
    write_whole(config, changed.replace("database =", "renamed ="), 0o644)
    restart_agent(device)
    wait_until(lambda: plant.forwards()["other"]["offered"] != plant.forwards()["other"]["target"], 30, "its offer")
    house.console.open_door(device.id, forwards=["database", "other"])
    house.console.wait_for_door(device.id, "open")
    assert plant.wait_for("database", "failed")["why"]["code"] == "forward.not-allowed"
    assert plant.wait_for("other", "failed")["why"]["code"] == "forward.other-target"
    assert house.log_in(device, "id -un", plant.relay.door_port)[0] == 0
    story = house.story()
    assert "forward.failed" in story
    assert not any(plant.listens(name) for name in plant.ports)
