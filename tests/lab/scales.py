"""Whether anything grows: what lives on between sessions is weighed at rest after each fault, against what the same process weighed first."""

from dataclasses import dataclass, field
from typing import Final

from tests.house.house import House
from tests.lab.invariants import growth
from tests.lab.sightings import Weight, weigh
from tests.parts.waiting import wait_until

CALM_S: Final = 20.0
"""Threads and sockets of what was disturbed end a moment later than a door is where it was wanted."""


@dataclass(slots=True)
class Scales:
    """First weights by process: one that was killed begins anew, and those that live on are held to theirs over all faults."""

    first: dict[int, Weight] = field(default_factory=dict)

    def note(self, house: House) -> None:
        """Weigh whoever was not weighed yet."""
        for weight in weigh(house).values():
            self.first.setdefault(weight.pid, weight)

    def grown(self, house: House) -> list[str]:
        """Say what holds more than at first, beyond what breathes."""
        now = weigh(house)
        return growth({name: self.first.get(one.pid, one) for name, one in now.items()}, now)

    def all_back(self, house: House) -> None:
        """Bring the door to rest and wait until nobody holds more than at first; fails with what does."""
        house.console.shut_and_wait(house.device.id)
        grown: list[str] = []

        def are_back() -> bool:
            grown[:] = self.grown(house)
            return not grown

        try:
            wait_until(are_back, CALM_S, "what grew to be back")
        except AssertionError:
            raise AssertionError(f"grew, after {CALM_S} s at rest:\n" + "\n".join(grown)) from None
        self.note(house)
