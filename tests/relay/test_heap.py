"""What stands is frozen, and what was left behind is found nevertheless."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from doorward_relay.edges.embedded.heap import Heap

from tests.relay.one_tunnel import reset, run, standing_tunnel


class _Knot:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # as all other tests have it


def test_heap_when_enough_came_then_it_is_frozen_and_the_next_looks_leave_it_alone() -> None:
    """A step's pause is as long as what came is large, and not as all that stands."""
    heap, knot = Heap(), _Knot()
    left = weakref.ref(knot)
    heap.came = 64
    heap.settle(5_000, is_visited=True)
    frozen = gc.get_freeze_count()
    assert frozen > 0
    del knot
    heap.came = 64
    heap.settle(5_000, is_visited=True)
    assert left() is not None
    assert gc.get_freeze_count() >= frozen


def test_heap_when_enough_went_then_what_they_left_among_the_frozen_is_found() -> None:
    """A connection that went while it was frozen is not kept for ever, and what stands is frozen again."""
    heap, knot = Heap(), _Knot()
    left = weakref.ref(knot)
    heap.came = 64
    heap.settle(100, is_visited=False)
    del knot
    gc.collect()
    assert left() is not None
    heap.gone = 16
    heap.settle(100, is_visited=False)
    assert left() is None
    assert gc.get_freeze_count() > 0


def test_heap_when_newcomers_left_something_behind_then_it_is_freed_and_not_frozen() -> None:
    """What a log-in needed is in knots: frozen, it would stay until somebody leaves."""
    heap, knot = Heap(), _Knot()
    left = weakref.ref(knot)
    gc.collect()  # it is old by now, as what outlived a log-in is
    del knot
    heap.came = 64
    heap.settle(5_000, is_visited=True)
    assert left() is None


@pytest.mark.parametrize(
    ("came", "gone", "is_visited"), [(63, 0, False), (0, 12, False), (0, 15, False), (0, 99, True), (63, 50, True)]
)
def test_heap_when_little_changed_or_somebody_would_wait_for_it_then_nothing_is_done(
    came: int, gone: int, *, is_visited: bool
) -> None:
    """A look costs everybody a pause, so it has to be worth it; at everything, half a second that nobody shall feel."""
    heap = Heap()
    heap.came, heap.gone = came, gone
    heap.settle(100, is_visited=is_visited)
    assert (gc.get_freeze_count(), heap.came, heap.gone) == (0, came, gone)


def test_heap_when_as_many_went_as_stand_then_it_is_looked_through_although_somebody_visits() -> None:
    """Else a relay that is always visited would keep all that ever went."""
    heap = Heap()
    heap.gone = 100
    heap.settle(100, is_visited=True)
    assert (gc.get_freeze_count() > 0, heap.gone) == (True, 0)


class _Told(Heap):
    """A heap that remembers what it was told."""

    is_visited = False

    def settle(self, standing: int, *, is_visited: bool) -> None:
        self.is_visited = is_visited
        super().settle(standing, is_visited=is_visited)


@pytest.mark.parametrize(("lasted_s", "is_visited"), [(0, False), (6, True)])
def test_server_when_somebody_visits_then_it_takes_people_and_not_probes_for_visitors(
    scratch: Path, lasted_s: int, *, is_visited: bool
) -> None:
    """A look at everything is half a second; of thousands of doors one is always being probed."""

    async def told() -> bool:
        async with standing_tunnel(scratch) as tunnel:
            _, writer = await tunnel.visit()
            for visit in tunnel.server._visits.values():
                visit._began -= lasted_s
            heap = tunnel.server._heap = _Told()
            tunnel.server.glance()
            reset(writer)
            return heap.is_visited

    assert run(told()) is is_visited
