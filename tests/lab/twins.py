"""One identity in two places or two times: a disk that was copied into a second machine, and one put back from a backup."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.house.house import AGENT_USER, House
from tests.house.machine import PROGRAMS, Machine
from tests.parts.processes import run
from tests.parts.waiting import wait_until

NOTICED_S: Final = 150
"""Both have to speak twice in turn; whoever was thrown off the broker waits up to a minute before it dials again."""
MOST_DIALS: Final = 40
"""In that time: a machine that is thrown off again and again dials ever more rarely."""


def cloned(house: House) -> None:
    """Run a second machine with a copy of the device's disk, until the console says that there are two."""
    with a_twin(house) as twin:
        agent = twin.start(PROGRAMS / "doorward-agent", "run", user=AGENT_USER)
        wait_until(
            lambda: house.console.get(f"/devices/{house.device.id}")["has_twin"], NOTICED_S, "the console to say so"
        )
        assert agent.log_text().count("BrokerConnected") < MOST_DIALS
    house.console.wait_for_history(("console.alarm",))


@contextmanager
def a_twin(house: House) -> Iterator[Machine]:
    """Copy the device into a machine that stands beside it, behind the same NAT."""
    folder, original = house.folder / "twin", house.device.machine
    twin = Machine("twin", folder, house.programs, original.network)
    twin.prepare()
    for name in ("etc", "home", "root", "var/lib"):
        shutil.rmtree(folder / name)
        _copy(original, folder, name)
    twin.power_on()
    twin.must(PROGRAMS / "doorward-runner", "clear")
    try:
        yield twin
    finally:
        twin.cut_power()
        shutil.rmtree(folder)


def _copy(original: Machine, folder: object, name: str) -> None:
    _on_disk(f"cp -a {original.folder}/{name} {folder}/{name}")


def _on_disk(commands: str) -> None:
    done = run(["/bin/sh", "-ec", commands])
    assert done.returncode == 0, done.stderr.decode()


def put_back(house: House) -> None:
    """Keep the device's disk, let it go through two sessions more, and put back what was kept."""
    machine, device = house.device.machine, house.device
    was = house.console.door(device.id)["state"]
    machine.must("/bin/sh", "-ec", "rm -rf /root/kept; mkdir /root/kept; cp -a /var/lib/doorward* /root/kept")
    for _ in range(2):
        house.console.shut_and_wait(device.id)
        house.console.open_door(device.id)
        house.console.wait_for_door(device.id, "open")
    if was != "open":
        house.console.shut_and_wait(device.id)
    machine.cut_power()
    _on_disk(f"cd {machine.folder}; rm -rf var/lib/doorward*; cp -a root/kept/. var/lib")
    device.boot()
