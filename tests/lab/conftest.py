"""One lab for all its tests, in the process that has the other house, too."""

from collections.abc import Iterator

import pytest

from tests.house.house import Device, House
from tests.lab.building import a_lab, lacking


@pytest.fixture(scope="session")
def built_house() -> Iterator[House]:
    """A lab that is built once."""
    if reasons := lacking():
        pytest.skip("; ".join(reasons))
    with a_lab() as house:
        yield house


@pytest.fixture
def lab(built_house: House) -> Iterator[House]:
    """The lab in fair weather, with its door shut before and after."""
    built_house.console.shut_and_wait(built_house.device.id)
    yield built_house
    print(built_house.logs())  # pytest shows it for a test that failed
    built_house.restore()
    built_house.console.shut_and_wait(built_house.device.id)


@pytest.fixture
def device(lab: House) -> Device:
    """The lab's device."""
    return lab.device
