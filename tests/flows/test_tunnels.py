"""The one way without an ssh program on the device: its agent dials with paramiko."""

from collections.abc import Iterator

import pytest

from tests.house.house import AGENT_TOML, Device, House
from tests.house.machine import PROGRAMS
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


def restart_with(device: Device, tunnel: str, more: str = "") -> None:
    """Give a device's agent another configuration."""
    text = AGENT_TOML.format(programs=PROGRAMS, tunnel=tunnel) + more
    write_whole(device.machine.folder / "etc/doorward/agent.toml", text)
    assert device.agent is not None
    device.agent.kill()
    device.start_agent()


@pytest.fixture(params=["auto", "paramiko"])
def device_without_ssh(house: House, device: Device, request: pytest.FixtureRequest) -> Iterator[Device]:
    """The house's device, as if it had no ssh program."""
    restart_with(device, request.param, 'ssh_program = "/usr/bin/there-is-none"\n')
    yield device
    restart_with(device, house.tunnel)


@pytest.mark.feature("T5", "E9")
def test_door_when_the_device_has_no_ssh_then_an_engineer_logs_in_and_nothing_is_left(
    house: House, device_without_ssh: Device
) -> None:
    """The toggle, the printed line, a bulky copy and OFF work as with ssh, and the tunnel's process goes with the session."""
    device = device_without_ssh
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    assert "paramiko_child" in device.machine.must("/bin/ps", "axww", "-o", "cmd")
    status, said = house.log_in(device, "id -un")
    assert (status, said.strip()) == (0, "remote-admin")
    bulk = bytes(range(256)) * 40_000
    options, target = house.ssh_options(device.id), f"remote-admin@{house.address}"
    status, said = house.engineer(
        ["/usr/bin/ssh", *options, "-p", str(house.ports.door), target, "cat > arrived; cat arrived | wc -c"], bulk
    )
    assert (status, said.strip()) == (0, str(len(bulk)))
    assert (device.machine.folder / "home/remote-admin/arrived").read_bytes() == bulk

    house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    assert not house.listens(house.ports.door)
    wait_until(lambda: "paramiko_child" not in device.machine.must("/bin/ps", "axww", "-o", "cmd"))
