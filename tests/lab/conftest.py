"""One lab for all its tests, in a process of its own where several run."""

from collections.abc import Iterator

import pytest

from tests.house.house import Device, House
from tests.lab.building import a_lab, lacking


@pytest.fixture(scope="package")
def built_lab() -> Iterator[House]:
    """A lab that is built once."""
    if reasons := lacking():
        pytest.skip("; ".join(reasons))
    with a_lab() as house:
        yield house


@pytest.fixture
def lab(built_lab: House) -> Iterator[House]:
    """The lab in fair weather, with its door shut before and after."""
    built_lab.console.shut_and_wait(built_lab.device.id)
    yield built_lab
    print(built_lab.logs())  # pytest shows it for a test that failed
    built_lab.restore()
    built_lab.console.shut_and_wait(built_lab.device.id)


@pytest.fixture
def device(lab: House) -> Device:
    """The lab's device."""
    return lab.device
