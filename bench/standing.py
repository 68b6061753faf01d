"""The real house of the tests, on this machine's loopback, for a bench: broker, console, managed relay and one device."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.report import say
from tests.house.house import House
from tests.parts.files import scratch_folder
from tests.parts.processes import Programs

NEEDED = ("root", "mosquitto", "sshd", "ssh", "sudo", "useradd", "cgroup")


@contextmanager
def standing_house() -> Iterator[House]:
    """Build a house, and end everything of it; what it logged is shown when a bench fails."""
    with scratch_folder() as folder:
        house = House(folder, Programs(folder))
        try:
            say("building the house: broker, console, relay, device")
            house.build()
            house.make_keys()
            yield house
        except AssertionError:
            say(house.logs())
            raise
        finally:
            house.close()
