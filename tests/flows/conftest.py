"""One whole house behind a real NAT for all flows; each test starts and ends with every door shut."""

from collections.abc import Iterator

import pytest

from tests.house.house import Device, House
from tests.house.network import Network
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.processes import Programs

NEEDED = ("root", "mosquitto", "sshd", "ssh", "sudo", "nft", "ip", "cgroup")


@pytest.fixture(scope="package")
def built_house() -> Iterator[House]:
    """A house that is built once, and gone with the last of these files: its processes cost time also while nobody asks them."""
    lacking = [reason for part in NEEDED if (reason := missing(part))]
    if lacking:
        pytest.skip("; ".join(lacking))
    with scratch_folder() as folder:
        programs = Programs(folder)
        network = Network(programs)
        house = House(folder, programs, network)
        try:
            network.lay()
            house.build()
            house.make_keys()
            yield house
        finally:
            house.close()


@pytest.fixture
def house(built_house: House) -> Iterator[House]:
    """The house, with its door shut before and after."""
    built_house.console.shut_and_wait(built_house.device.id)
    try:
        yield built_house
    finally:
        print(built_house.logs())  # pytest shows it for a test that failed
    built_house.restore()
    built_house.console.shut_and_wait(built_house.device.id)


@pytest.fixture
def device(house: House) -> Device:
    """The house's first device, ``pump-7``."""
    return house.device
