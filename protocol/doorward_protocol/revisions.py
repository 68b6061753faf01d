"""Revisions: the pair (epoch, revision) by which a device knows newer from older (protocol.md §4, step 7)."""

from typing import Final, NamedTuple

MAX_EPOCH_STEP: Final = 16
"""How far a restored console may jump; more is a mistake or an attack that would exhaust the counter."""
MAX_REVISION_STEP: Final = 1_048_576


class Revision(NamedTuple):
    """One part's place in time. Compares as a tuple: the epoch first."""

    epoch: int
    number: int


NEVER: Final = Revision(0, 0)


def is_too_far_ahead(offered: Revision, held: Revision) -> bool:
    """Tell whether ``offered`` jumps further than a console ever has reason to."""
    if offered.epoch > held.epoch:
        return offered.epoch - held.epoch > MAX_EPOCH_STEP or offered.number > MAX_REVISION_STEP
    return offered.number - held.number > MAX_REVISION_STEP
