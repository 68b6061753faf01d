"""A lab to work in: every place in a network of its own, console, relay and device joined, doors shut."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.house.house import House
from tests.house.machine import shut_to_devices
from tests.house.network import Network
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.processes import Programs

NEEDED: Final = ("root", "mosquitto", "sshd", "ssh", "sudo", "nft", "ip", "cgroup")


def lacking() -> list[str]:
    """Say why a lab cannot be built here, one sentence for each part that is missing; empty when it can."""
    reasons = (*(missing(part) for part in NEEDED), shut_to_devices())
    return [reason for reason in reasons if reason is not None]


@contextmanager
def a_lab(*, second_relay: bool = False) -> Iterator[House]:
    """Build a lab, and take it down with everything that runs in it."""
    with scratch_folder() as folder:
        programs = Programs(folder)
        network = Network(programs, apart=True)
        house = House(folder, programs, network)
        try:
            network.lay()
            house.build()
            house.make_keys()
            if second_relay:
                house.console.pair_relay("Attic", house.build_relay("second-relay"))
            yield house
        finally:
            house.close()
