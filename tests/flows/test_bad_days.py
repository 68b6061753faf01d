"""What goes wrong in the field, done to a whole house: restarts, cuts, two people at once, an old backup."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.house.api import Console, Declined
from tests.house.house import OWNER, Device, House
from tests.house.machine import PROGRAMS
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(240)
"""A house is built within the first test, and some ends have to be waited for."""


def test_on_twice_and_off_twice_then_there_is_one_session_and_it_is_shut(house: House, device: Device) -> None:
    """ON while open opens nothing more; OFF while shut harms nothing; each of them is written down."""
    before = pressed(house, device)
    house.console.open_door(device.id)
    first = house.console.wait_for_door(device.id, "open")
    second = house.console.open_door(device.id)
    assert (second["state"], second["session"]) == ("open", first["session"])
    ons = [("session.on", OWNER)] * 2
    assert pressed_since(house, device, before) == ons
    for _ in range(2):
        house.console.shut_door(device.id)
    house.console.wait_for_door(device.id, "shut")
    assert house.console.shut_door(device.id)["state"] == "shut"
    assert pressed_since(house, device, before) == [("session.off", OWNER)] * 3 + ons


def pressed(house: House, device: Device) -> set[tuple[str, str, str]]:
    """Give the newest presses of ON and OFF that the history shows for a device: verb, by whom, when."""
    lines = [line for verb in PRESSES for line in house.console.lines(verb, device.id)]
    return {(line["verb"], line["by"], line["at"]) for line in lines}


def pressed_since(house: House, device: Device, before: set[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Give the presses that are news: verb and by whom, sorted."""
    return sorted((verb, by) for verb, by, _ in pressed(house, device) - before)


PRESSES = ("session.on", "session.off")
COLLEAGUE = "kenji@example.com"


@pytest.fixture(scope="module")
def colleague(built_house: House) -> Iterator[Console]:
    """A second person who may turn maintenance on and off, signed in beside the owner."""
    person = built_house.person(COLLEAGUE, "admin")
    try:
        yield person
    finally:
        person.close()


@pytest.mark.parametrize("first", PRESSES)
@pytest.mark.parametrize("door_before", ["shut", "open"])
def test_on_and_off_when_two_people_press_at_once_then_the_door_comes_to_rest_shut(
    house: House, device: Device, colleague: Console, first: str, door_before: str
) -> None:
    """Shut wins, whoever was heard first and whatever the door was before; nobody has to press OFF again."""
    if door_before == "open":
        house.console.open_door(device.id)
        house.console.wait_for_door(device.id, "open")
    before = pressed(house, device)
    presses = [lambda: house.console.open_door(device.id), lambda: colleague.shut_door(device.id)]
    press_at_once(presses if first == "session.on" else presses[::-1])
    wait_until(lambda: house.console.door(device.id)["state"] in {"shut", "failed"}, 30, "the door to be at rest")
    assert stays_shut(house, device)
    once_each = [("session.off", COLLEAGUE), ("session.on", OWNER)]
    assert pressed_since(house, device, before) == once_each, "somebody pressed again, or was not heard"


def press_at_once(presses: Sequence[Callable[[], object]]) -> None:
    """Start all presses in their order, without waiting for the one before; a refusal is an answer too."""

    def press(one: Callable[[], object]) -> None:
        with suppress(Declined):
            one()

    with ThreadPoolExecutor(len(presses)) as hands:
        for done in [hands.submit(press, one) for one in presses]:
            done.result(30)


def stays_shut(house: House, device: Device) -> bool:
    """Watch a shut door for longer than an order takes to open one."""
    ends_at = time.monotonic() + WATCHED_S
    while time.monotonic() < ends_at:
        if house.listens(house.ports.door) or house.console.door(device.id)["state"] not in {"shut", "failed"}:
            return False
    return True


WATCHED_S = 2.0
"""An opening takes less than a second here."""


@pytest.mark.feature("E9", "B5")
def test_agent_when_restarted_while_open_then_the_same_session_opens_again(house: House, device: Device) -> None:
    """A restarted agent asks and brings the same session back, for the time that is left, and its old tunnel is gone."""
    house.console.open_door(device.id)
    before = house.console.wait_for_door(device.id, "open")
    assert device.agent is not None
    device.agent.kill()
    wait_until(lambda: not house.listens(house.ports.door), 5, "the tunnel to die with the agent")
    device.start_agent()
    wait_until(lambda: house.banner(house.ports.door), 20, "the door to be back")
    after = house.console.wait_for_door(device.id, "open")
    assert (after["session"], after["ends_at"]) == (before["session"], before["ends_at"])
    status, said = house.log_in(device, "true")
    assert status == 0, said


@pytest.mark.feature("E9", "B5")
def test_agent_when_restarted_again_and_again_then_the_door_is_back_each_time(house: House, device: Device) -> None:
    """An agent that falls over five times in a row asks more than its share, and is heard all the same."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    for _ in range(5):
        assert device.agent is not None
        device.agent.kill()
        device.start_agent()
        wait_until(lambda: house.banner(house.ports.door), 30, "the door to be back")
        house.console.wait_for_door(device.id, "open")


@pytest.mark.feature("E9", "B5")
def test_device_when_cut_off_and_back_then_it_takes_its_port_from_the_dead_tunnel(house: House, device: Device) -> None:
    """A device that vanished without a word comes back while the relay still holds its old tunnel, and gets its port."""
    assert house.network is not None
    house.console.open_door(device.id)
    session = house.console.wait_for_door(device.id, "open")["session"]
    # The tunnel of the session before may still be seen off.
    wait_until(lambda: len(tunnel_ports(house, device)) == 1, 10, "one tunnel alone")
    house.network.weather.black_hole_connection(tunnel_port(house, device))
    assert device.agent is not None
    device.agent.kill()
    device.start_agent()

    def replaced() -> bool:
        return any(one["session"] == session for one in house.console.lines("tunnel.replaced", device.id))

    wait_until(replaced, 40, "the relay to end the dead tunnel of this session")
    wait_until(lambda: house.banner(house.ports.door), 30, "the device to be back on its port")
    house.console.wait_for_door(device.id, "open")
    status, said = house.log_in(device, "true")
    assert status == 0, said


def tunnel_port(house: House, device: Device) -> int:
    """Name the device's own port of its connection to the relay."""
    return tunnel_ports(house, device)[0]


def tunnel_ports(house: House, device: Device) -> list[int]:
    """Name those of all its connections to the relay."""
    to_relay = device.machine.must("/bin/ss", "-Htn", "state", "established", f"dport = :{house.ports.relay_ssh}")
    return [int(line.split()[2].rpartition(":")[2]) for line in to_relay.splitlines()]


@pytest.mark.feature("E9")
def test_device_when_its_power_was_cut_then_the_order_opens_it_again_after_the_boot(
    house: House, device: Device
) -> None:
    """No door survives a reboot by itself: after the boot a fresh order opens the session again."""
    house.console.open_door(device.id)
    before = house.console.wait_for_door(device.id, "open")
    device.machine.cut_power()
    wait_until(lambda: not house.banner(house.ports.door), 10, "the door to be gone with the power")
    device.boot()
    assert "doorward" not in device.machine.must(
        "/bin/sh", "-c", "ls -d /run/doorward-runner/door-* 2>/dev/null || true"
    )
    wait_until(lambda: house.banner(house.ports.door), 40, "the door to be back")
    assert house.console.wait_for_door(device.id, "open")["session"] == before["session"]


def test_relay_when_restarted_while_open_then_the_tunnel_stays(house: House, device: Device) -> None:
    """The relay's daemon may be killed and started: the tunnel stays, OFF still ends it."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.stop("relay")
    house.start_relay()
    assert house.banner(house.ports.door)
    house.console.shut_door(device.id)
    wait_until(lambda: not house.listens(house.ports.door), 20, "OFF to end it")
    house.console.wait_for_door(device.id, "shut")


def test_worker_and_signer_when_killed_while_opening_then_the_door_opens_all_the_same(
    house: House, device: Device
) -> None:
    """Killed in the middle, worker and signer go on where they were when they are started again."""
    house.stop("signer", "worker")
    house.console.open_door(device.id)
    house.restore()
    house.console.wait_for_door(device.id, "open", limit_s=40)


@pytest.mark.feature("B6")
def test_console_when_restored_from_an_old_backup_then_it_says_so_and_works_on(house: House, device: Device) -> None:
    """A console put back to yesterday opens a new epoch, is obeyed again, and its history shows the restore and verifies."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.console.shut_and_wait(device.id)
    backup = back_up(house)
    for _ in range(2):  # what the backup does not know
        house.console.open_door(device.id)
        house.console.wait_for_door(device.id, "open")
        house.console.shut_and_wait(device.id)
    house.console.wait_for_history(("session.closed", "door.closed"), device.id)
    put_back(house, backup)
    house.console_machine.must(PROGRAMS / "doorward-console", "restored")
    house.restore()
    house.console.shut_and_wait(device.id)
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open", limit_s=60)
    house.console.shut_and_wait(device.id)
    house.console.wait_for_history(("console.restored",))
    verified = house.verify_history(house.export_history())
    assert verified["restores"], "the verifier does not show the restore"


def back_up(house: House) -> Path:
    """Copy the console's data folder while it stands still, as a nightly backup does."""
    house.stop("web", "worker", "signer")
    kept = house.folder / "backup"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(data_folder(house), kept)
    house.restore()
    return kept


def put_back(house: House, kept: Path) -> None:
    house.stop("web", "worker", "signer")
    shutil.rmtree(data_folder(house))
    shutil.copytree(kept, data_folder(house))


def data_folder(house: House) -> Path:
    return house.console_machine.folder / "var/lib/doorward-console"
