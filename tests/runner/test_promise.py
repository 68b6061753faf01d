"""Times of a session on a device that knows no time: pure rules, no process."""

from typing import Any, Final

import pytest
from doorward_protocol.ids import SessionId
from doorward_protocol.orders import OpenDoor, Order, order_from_payload
from doorward_runner.promise import Moment, Promise, open_promise, shut_promise
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.cast import NOW, Draft, named, open_body
from tests.protocol.test_vectors import VECTORS

START: Final = Moment("b" * 32, 1000.0)
DAY_S: Final = 86_400


def order_for(*, revision: int = 5, issued_at: int = NOW, **body: Any) -> tuple[Order, OpenDoor]:
    """Read an order that opens."""
    order = order_from_payload(Draft(open_body(**body), {"revision": revision, "issued_at": issued_at}).payload())
    assert isinstance(order.body, OpenDoor)
    return order, order.body


def promise_for(last: Promise, now: Moment, longest_s: int = DAY_S, **order: Any) -> Promise | None:
    """Promise what an order asks."""
    return open_promise(*order_for(**order), last, now, longest_s)


def after(seconds: float) -> Moment:
    """Give the clock's reading some time into the same boot."""
    return Moment(START.boot, START.uptime_s + seconds)


@pytest.mark.feature("B9")
@pytest.mark.parametrize("years", [-10, 0, 10])
def test_promise_when_console_time_is_years_off_then_session_lasts_as_ordered(years: int) -> None:
    """The end is a reading of the boot-time clock: whose calendar is right does not matter."""
    issued_at = NOW + years * 365 * DAY_S * 1000
    promised = promise_for(Promise(), START, issued_at=issued_at, ends_at=issued_at + 60_000, duration_s=60)
    assert promised is not None
    assert promised.ends_s == pytest.approx(1060.0)


@pytest.mark.parametrize(("ends_in_s", "duration_s", "lasts_s"), [(60, 30, 30), (30, 60, 30)])
def test_promise_when_end_and_duration_differ_then_the_sooner_holds(
    ends_in_s: int, duration_s: int, lasts_s: int
) -> None:
    """A session ends at its end or after its duration, whichever comes first."""
    promised = promise_for(Promise(), START, ends_at=NOW + ends_in_s * 1000, duration_s=duration_s)
    assert promised is not None
    assert promised.ends_s == pytest.approx(START.uptime_s + lasts_s)


@pytest.mark.feature("B4")
@given(
    ends_in_s=st.integers(1, 900), signed_later_s=st.integers(0, 600), heard_later_s=st.floats(0, 600, allow_nan=False)
)
def test_promise_when_order_is_repeated_then_it_never_lasts_longer(
    ends_in_s: int, signed_later_s: int, heard_later_s: float
) -> None:
    """An order signed again for the same revision keeps or shortens what was first promised."""
    body = {"ends_at": NOW + ends_in_s * 1000, "duration_s": 600}
    first = promise_for(Promise(), START, **body)
    assert first is not None
    again = promise_for(first, after(heard_later_s), issued_at=NOW + signed_later_s * 1000, **body)
    assert again is None or again.ends_s <= first.ends_s


def test_promise_when_revision_is_higher_then_the_same_session_gets_the_new_end() -> None:
    """An extension: duration counts from the session's first acceptance."""
    first = promise_for(Promise(), START, ends_at=NOW + 60_000, duration_s=60)
    assert first is not None
    longer = promise_for(first, after(30), revision=6, issued_at=NOW + 30_000, ends_at=NOW + 120_000, duration_s=120)
    assert longer is not None
    assert longer.ends_s == pytest.approx(START.uptime_s + 120)
    assert longer.accepted_s == START.uptime_s


def test_promise_when_extended_again_and_again_then_device_limit_holds() -> None:
    """No chain of extensions outlasts what this device allows."""
    last = Promise()
    for step in range(10):
        made = promise_for(
            last, after(step * 50), 100, revision=step + 1, issued_at=NOW + step * 50_000,
            ends_at=NOW + step * 50_000 + 90_000, duration_s=90,
        )  # fmt: skip
        if made is None:
            break
        last = made
    assert last.ends_s <= START.uptime_s + 100


def test_promise_when_order_was_signed_before_the_last_one_then_time_does_not_move_back() -> None:
    """Within a boot console time only moves on: an order kept back is judged by the time that was heard since."""
    last = shut_promise(order_for(issued_at=NOW + 600_000)[0], Promise(), START)
    assert promise_for(last, after(1), ends_at=NOW + 300_000, duration_s=300) is None


@pytest.mark.feature("E9", "B9")
@pytest.mark.parametrize("ahead_s", [61, DAY_S])
def test_promise_when_the_consoles_clock_was_ahead_and_is_right_again_then_the_session_lasts_as_ordered(
    ahead_s: int,
) -> None:
    """A nonce that is a minute old proves that it is not later than a minute after the order was signed."""
    last = shut_promise(order_for(issued_at=NOW + ahead_s * 1000)[0], Promise(), START)
    now = after(0)._replace(nonce_s=START.uptime_s - 60)
    promised = promise_for(last, now, ends_at=NOW + 30_000, duration_s=30)
    assert promised is not None
    assert promised.ends_s == pytest.approx(START.uptime_s + 30)
    of_an_old_nonce = promise_for(last, START, ends_at=NOW + 30_000, duration_s=30)  # maybe as old as the boot
    assert (of_an_old_nonce is None) == (ahead_s < START.uptime_s)


@pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in VECTORS["times"]])
def test_promise_when_an_order_is_accepted_then_time_is_the_vectors(vector: dict[str, Any]) -> None:
    """The runner takes the console's time as the agent does."""
    held = vector["held_ahead_ms"]
    last = Promise() if held is None else Promise(boot=START.boot, console_ahead_ms=held)
    now = Moment(START.boot, vector["now_ms"] / 1000, vector["nonce_ms"] / 1000)
    shut = shut_promise(order_for(issued_at=vector["issued_at"])[0], last, now)
    assert shut.console_ahead_ms == vector["ahead_ms"]


def test_promise_when_machine_was_started_again_then_time_comes_from_the_order() -> None:
    """Another boot's readings say nothing."""
    last = Promise(boot="a" * 32, console_ahead_ms=NOW * 2, ends_s=5.0)
    last = last._replace(session=SessionId(named("s", "session")), accepted_s=1.0)
    promised = promise_for(last, START, ends_at=NOW + 60_000, duration_s=60)
    assert promised is not None
    assert promised.ends_s == pytest.approx(1060.0)
    assert not last.is_over(START)
