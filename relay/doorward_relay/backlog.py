"""The backlog: what could not be written down yet, in its order, decided without touching the world.

A store that does not work must not keep anybody from closing, so what belongs in it waits here. Records are bounded: of
those beyond ``MOST`` only the number stays, at the record after which they came. Ends and sequences are never dropped;
there are no more of them than the ledger itself remembers. Called by ``keeping`` alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from doorward_protocol.records import Fact

from doorward_relay.effects import Kept, WriteRecord

MOST: Final = 10_000
"""Waiting at once: some 10 MiB, and hours of a busy relay."""
CHUNK: Final = 200
"""Written at once: signing and writing them takes a fraction of a second, in which nothing else is done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something to be written down.

    Attributes:
        at: when it happened (ms).
        dropped: how many records came after this one and were not kept.
    """

    effect: Kept
    at: int
    dropped: int = 0

    @property
    def fact(self) -> Fact | None:
        """The record to be written; one before a gap says how many are missing."""
        if not isinstance(self.effect, WriteRecord):
            return None
        fact = self.effect.fact
        return replace(fact, data={**fact.data, "dropped": self.dropped}) if self.dropped else fact


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, oldest first."""

    waiting: tuple[Waiting, ...] = ()

    @property
    def dropped(self) -> int:
        return sum(one.dropped for one in self.waiting)


def add(backlog: Backlog, effects: Iterable[Kept], *, at: int, most: int = MOST) -> Backlog:
    """Let more wait; a record for which there is no room is counted at the last one that waits."""
    waiting = list(backlog.waiting)
    for effect in effects:
        if isinstance(effect, WriteRecord) and len(waiting) >= most and (last := _last_record(waiting)) is not None:
            waiting[last] = replace(waiting[last], dropped=waiting[last].dropped + 1)
        else:
            waiting.append(Waiting(effect, at))
    return Backlog(tuple(waiting))


def chunk(backlog: Backlog) -> tuple[tuple[Waiting, ...], Backlog]:
    """Give what is to be written next, and what waits after that."""
    return backlog.waiting[:CHUNK], Backlog(backlog.waiting[CHUNK:])


def _last_record(waiting: list[Waiting]) -> int | None:
    return next((n for n in range(len(waiting) - 1, -1, -1) if isinstance(waiting[n].effect, WriteRecord)), None)
