"""What stands is frozen, and what was left behind is found nevertheless."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from doorward_relay.edges.embedded.heap import Heap


class _Knot:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_heap_when_enough_came_then_what_stands_is_frozen_and_looked_through_anew_later() -> None:
    """A connection that went while it was frozen is not kept for ever."""
    heap, knot = Heap(), _Knot()
    left = weakref.ref(knot)
    heap.changes = 100
    heap.settle(100, is_busy=False)
    assert gc.get_freeze_count() > 0
    del knot
    gc.collect()
    assert left() is not None
    heap.changes = 100
    heap.settle(100, is_busy=False)
    assert left() is None


@pytest.mark.parametrize(("changes", "is_busy"), [(100, True), (12, False), (3, False)])
def test_heap_when_somebody_arrives_or_little_changed_then_nothing_is_done(changes: int, *, is_busy: bool) -> None:
    """The look costs everybody a pause, so it has to be worth it."""
    heap = Heap()
    heap.changes = changes
    heap.settle(100, is_busy=is_busy)
    assert (gc.get_freeze_count(), heap.changes) == (0, changes)
