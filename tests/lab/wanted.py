"""Whether a door is where it was wanted, ``open`` or ``shut``: for the console, for whoever knocks at it, and for the device that is told.

Each of the three alone looks well for a while after something was lost. Used after every fault.
"""

import time

from tests.house.house import House
from tests.lab.sightings import device_status
from tests.parts.waiting import wait_until


def wait_for_door(house: House, wanted: str, within_s: float) -> None:
    """Wait until the door is open or shut for the console and for whoever knocks: of what was just lost the console says open for a moment."""
    ends_at = time.monotonic() + within_s
    house.console.wait_for_door(house.device.id, wanted, within_s)
    wait_until(lambda: is_so(house, wanted), max(1.0, ends_at - time.monotonic()), f"the door to be {wanted} outside")


def is_so(house: House, wanted: str) -> bool:
    """Tell whether the door is so, for both: a disagreement that the console names holds, and the door is not where it was wanted."""
    answers = bool(house.banner(house.ports.door))
    return house.console.door(house.device.id)["state"] == wanted and answers == (wanted == "open")


def has_device_obey(house: House, was: str, within_s: float) -> None:
    """Order something else than what is, and see the device itself do it: a link that nobody knows to be lost looks well until then."""
    if was == "shut":
        house.console.open_door(house.device.id)
        wait_for_door(house, "open", within_s)
    house.console.shut_door(house.device.id)
    wait_until(lambda: device_status(house.device).get("state") == "SHUT", within_s, "the device to shut its door")
    wait_for_door(house, "shut", within_s)
