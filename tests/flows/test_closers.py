"""Each of the three closers ends a session alone, with the other two prevented; and OFF needs no broker."""

import os
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.house.house import Device, House
from tests.parts.waiting import wait_until

SHORT_S = 8
"""Long enough to open and log in on a busy machine, short enough to wait for."""

pytestmark = pytest.mark.timeout(240)


def is_shut(house: House) -> bool:
    return not house.listens(house.ports.door)


def leave_something_running(house: House, device: Device) -> None:
    """Log in and leave a process that ignores the end of its terminal and its session."""
    status, said = house.log_in(device, "setsid nohup sleep 4711 > /dev/null 2>&1 & sleep 0.2; pgrep -f 'sleep 4711'")
    assert status == 0, said


def is_left(device: Device) -> bool:
    return "sleep 4711" in device.machine.must("/bin/ps", "axww", "-o", "cmd")


@pytest.mark.feature("B4")
@pytest.mark.threat("ends-device-alone")
def test_device_when_console_and_relay_do_nothing_then_shuts_at_the_end_alone(house: House, device: Device) -> None:
    """With every process of the console and the relay's daemon dead, the device ends its door and its tunnel itself."""
    house.console.open_door(device.id, duration_s=SHORT_S)
    house.console.wait_for_door(device.id, "open")
    leave_something_running(house, device)
    house.stop("signer", "worker", "web", "relay")
    assert not is_shut(house), "the relay's sshd went with its daemon"
    wait_until(lambda: is_shut(house), SHORT_S + 10, "the device to shut its door")
    wait_until(lambda: not is_left(device), 5, "the engineer's processes to be gone")


@pytest.mark.feature("B4")
def test_relay_when_console_and_device_do_nothing_then_shuts_at_the_end_alone(house: House, device: Device) -> None:
    """With the console dead and everything on the device frozen, the relay ends the tunnel itself."""
    house.console.open_door(device.id, duration_s=SHORT_S)
    house.console.wait_for_door(device.id, "open")
    house.stop("signer", "worker", "web")
    frozen = freeze(device)
    try:
        assert not is_shut(house)
        wait_until(lambda: is_shut(house), SHORT_S + 10, "the relay to shut the port")
    finally:
        thaw(device, frozen)


@pytest.mark.feature("B4")
def test_session_when_made_longer_then_it_lasts_and_ends_at_its_new_end(house: House, device: Device) -> None:
    """An extension holds on all three sides: past the old end an engineer is still in, past the new one nobody is."""
    house.console.open_door(device.id, duration_s=2 * SHORT_S)
    opened = house.console.wait_for_door(device.id, "open")
    leave_something_running(house, device)
    old_end = datetime.fromisoformat(opened["ends_at"].replace("Z", "+00:00"))
    half_time = old_end - timedelta(seconds=SHORT_S)
    wait_until(lambda: datetime.now(timezone.utc) > half_time, 2 * SHORT_S, "half of its time")
    longer = house.console.post(f"/devices/{device.id}/door/extend", duration_s=2 * SHORT_S)
    assert longer["session"] == opened["session"]
    for verb in ("grant.accepted", "order.accepted"):  # the first opening's, and the extension's
        wait_until(lambda said=verb: times_said(house, device, said, opened["session"]) == 2, 8, f"a second {verb}")  # type: ignore[misc]  # a default binds the loop's name
    house.stop("signer", "worker", "web")  # from here on device and relay keep it alone
    wait_until(lambda: datetime.now(timezone.utc) > old_end + timedelta(seconds=3), 3 * SHORT_S, "the old end")
    assert house.banner(house.ports.door), "the door was shut at its old end"
    assert is_left(device), "the engineer was thrown out at the old end"
    wait_until(lambda: is_shut(house), 3 * SHORT_S, "the new end")
    wait_until(lambda: not is_left(device), 5, "the engineer's processes to be gone")


@pytest.mark.feature("B4", "E5")
def test_console_when_the_device_does_nothing_then_off_shuts_at_once(house: House, device: Device) -> None:
    """With everything on the device frozen and its end hours away, OFF shuts the way in through the relay."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    frozen = freeze(device)
    try:
        house.console.shut_door(device.id)
        wait_until(lambda: is_shut(house), 5, "the console to shut the port through the relay")
        house.console.wait_for_door(device.id, "shut")
    finally:
        thaw(device, frozen)


@pytest.mark.feature("B4", "E5")
@pytest.mark.threat("broker-keeps-open")
def test_off_when_the_broker_drops_everything_then_the_relay_shuts_the_port(house: House, device: Device) -> None:
    """A broker that is gone after ON keeps no door open: OFF reaches the relay directly."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.stop("broker")
    house.console.shut_door(device.id)
    wait_until(lambda: is_shut(house), 5, "the port to be shut without a broker")
    house.console.wait_for_door(device.id, "shut")


@pytest.mark.feature("B4")
@pytest.mark.threat("login-outlives")
def test_door_when_agent_and_runner_are_killed_then_it_ends_all_the_same(house: House, device: Device) -> None:
    """Agent and runner killed while open: at its end the door is shut, and what ran under nohup and setsid is gone."""
    house.console.open_door(device.id, duration_s=SHORT_S)
    house.console.wait_for_door(device.id, "open")
    leave_something_running(house, device)
    assert device.agent is not None
    device.agent.kill()
    house.stop("signer", "worker", "web")
    assert is_left(device), "the door ended with the agent: this shows nothing about its own end"
    wait_until(lambda: not is_left(device), SHORT_S + 10, "the engineer's processes to be gone")
    assert "sshd: remote-admin" not in device.machine.must("/bin/ps", "axww", "-o", "cmd")


def times_said(house: House, device: Device, verb: str, session: str) -> int:
    return sum(1 for line in house.console.lines(verb, device.id) if line["session"] == session)


def freeze(device: Device) -> list[int]:
    """Stop every process of the device but its first: closers, tunnel and all. The kernel still answers for them."""
    inside = device.machine.must("/bin/ps", "-e", "-o", "pid=,comm=")
    names = {line.split()[1] for line in inside.splitlines()}
    assert "ssh" in names, "there is no tunnel to freeze"
    frozen = [pid for pid in processes_in_namespace_of(device.machine.init_pid) if pid != device.machine.init_pid]
    for pid in frozen:
        send(pid, signal.SIGSTOP)
    return frozen


def thaw(device: Device, frozen: list[int]) -> None:
    for pid in frozen:
        send(pid, signal.SIGCONT)
    if device.agent is not None:
        send(device.agent.entered.pid, signal.SIGCONT)  # nsenter stops when what it waits for stops


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def processes_in_namespace_of(init_pid: int) -> list[int]:
    """Find the pids, as seen from outside, of everything on a machine."""
    wanted = Path(f"/proc/{init_pid}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/pid").readlink() == wanted:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
