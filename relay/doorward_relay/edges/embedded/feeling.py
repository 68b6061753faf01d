"""The pulses of thousands of connections, felt a few at a time: which of them the reaper has to hear about.

Asking the kernel about 5,000 connections takes 20 ms, and whoever types through one of them would wait for it each second. So a
round goes over the second in parts, and leaves behind who is in doubt; those alone are asked again when somebody looks.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from doorward_relay.view import Pulse

ROUND_S: Final = 1.0
PART: Final = 100
"""Asked in one go: half a millisecond."""


class Felt(Protocol):
    """A connection that can be felt."""

    def is_doubtful(self) -> bool:
        """Tell, as cheaply as can be, whether the other end may be gone."""

    def pulse(self) -> Pulse | None:
        """Ask the kernel; None where it does not tell."""


class Feeling:
    """Goes round and remembers who was in doubt."""

    def __init__(self, connections: Mapping[int, Felt]) -> None:
        """Nobody is in doubt yet; ``connections`` are looked at as they are at each part."""
        self._connections = connections
        self._doubtful: frozenset[int] = frozenset()

    async def keep(self) -> None:
        """Go round, again and again, a round each second; returns only by being cancelled."""
        while True:
            numbers = tuple(self._connections)
            found: set[int] = set()
            parts = [numbers[at : at + PART] for at in range(0, len(numbers), PART)] or [()]
            for part in parts:
                found |= self._felt(part)
                self._doubtful |= found
                await asyncio.sleep(ROUND_S / len(parts))
            self._doubtful = frozenset(found)

    def pulses(self) -> dict[int, Pulse]:
        """Give the pulses, as they are now, of those who were in doubt within the last round; nobody else is."""
        there = {number: self._connections.get(number) for number in self._doubtful}
        pulses = {number: one.pulse() for number, one in there.items() if one is not None}
        return {number: pulse for number, pulse in pulses.items() if pulse is not None}

    def _felt(self, part: tuple[int, ...]) -> set[int]:
        return {number for number in part if (one := self._connections.get(number)) is not None and one.is_doubtful()}
