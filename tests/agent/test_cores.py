"""The small cores of the agent: time, nonces, waiting, counting, sending."""

from typing import Any

import pytest
from doorward_agent import nonces, outbox, policy, refusals, timeline, timers
from doorward_agent.nonces import Nonces
from doorward_agent.outbox import Outbox
from doorward_agent.refusals import Refusals
from doorward_agent.timeline import Timeline
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.test_machine import order
from tests.protocol.test_vectors import VECTORS

MINUTE_MS = 60_000


@pytest.mark.threat("broker-late")
@given(st.lists(st.integers(0, 20 * MINUTE_MS), max_size=20))
def test_nonce_when_ten_minutes_old_then_it_never_counts(steps: list[int]) -> None:
    """However often or rarely the clock is looked at, a nonce that is ten minutes old answers nothing."""
    now, held, born = 0, Nonces("0", 0), {"0": 0}
    for number, step in enumerate(steps, 1):
        now += step
        held = nonces.renewed(held, now, str(number))
        born.setdefault(held.current, now)
        assert all(now - born[nonce] < 10 * MINUTE_MS for nonce in held.fresh)
        assert len(held.fresh) <= 2


def test_nonce_when_five_minutes_old_then_the_one_before_still_counts() -> None:
    """The last two count, so an order signed just before the change is not lost."""
    held = nonces.renewed(Nonces("a", 0), 5 * MINUTE_MS, "b")
    assert list(held.fresh.items()) == [("b", 5 * MINUTE_MS), ("a", 0)]


AHEAD_MS = 1_790_000_000_000


@pytest.mark.threat("broker-late")
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 600_000), st.integers(0, 600_000)), max_size=20))
def test_time_when_orders_are_kept_back_at_will_then_it_never_moves_back(kept_back: list[tuple[int, int, int]]) -> None:
    """Of a console whose clock runs on no order moves a device's time back, however late it comes and however old its nonce is."""
    line, now, last = Timeline("boot"), 2_000_000, -1
    for step, signed_before, made_before in kept_back:
        now += step
        signed = now - signed_before
        line = timeline.heard(line, AHEAD_MS + signed, now, signed - made_before)
        told = line.console_ms(now)
        assert told is not None
        assert AHEAD_MS + signed <= told <= AHEAD_MS + now
        assert told >= last
        last = told


@pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in VECTORS["times"]])
def test_time_when_an_order_is_accepted_then_it_is_the_vectors(vector: dict[str, Any]) -> None:
    """What was known stays, is moved on, or was wrong, as the published examples say."""
    line = Timeline("boot", vector["held_ahead_ms"])
    heard = timeline.heard(line, vector["issued_at"], vector["now_ms"], vector["nonce_ms"])
    assert heard.offset_ms == vector["ahead_ms"]


def test_time_when_the_machine_was_rebooted_then_it_is_forgotten() -> None:
    """An offset belongs to one boot: after another it is unknown until the next order."""
    document = timeline.document_from_timeline(Timeline("one", 5))
    assert timeline.timeline_from_document(document, "one").offset_ms == 5
    assert timeline.timeline_from_document(document, "two").offset_ms is None
    assert timeline.timeline_from_document(None, "one").console_ms(1) is None


@given(st.integers(0, 1000), st.floats(0, 0.9999))
def test_retry_when_failures_pile_up_then_wait_is_bounded_and_jittered(failures: int, chance: float) -> None:
    """A wait is never more than a minute, never nothing."""
    assert policy.SHORTEST_RETRY_MS <= policy.retry_delay_ms(failures, chance) <= 60_000


def test_deadline_when_console_clock_and_duration_differ_then_the_earlier_counts() -> None:
    """A session ends at its end by console time, and never lasts longer than its duration from acceptance."""
    assert policy.deadline_of(order(), accepted_ms=500, offset_ms=0) == 1
    assert policy.deadline_of(order(), accepted_ms=500, offset_ms=-10_000) == 1_500


def test_refusals_when_equal_within_a_minute_then_counted_and_told_later() -> None:
    """The first is recorded at once, the others with the next one or when the minute has passed."""
    counted, times = refusals.refused(Refusals(), "order.unsigned", 0)
    assert times == 1
    for _ in range(9):
        counted, times = refusals.refused(counted, "order.unsigned", 1_000)
        assert times == 0
    counted, left = refusals.swept(counted, MINUTE_MS)
    assert left == {"order.unsigned": 9}
    assert refusals.swept(counted, 2 * MINUTE_MS)[1] == {}


@given(st.lists(st.tuples(st.sampled_from(["order.unsigned", "order.malformed"]), st.integers(0, 30_000)), max_size=60))
def test_refusals_when_all_are_told_then_none_is_lost_or_invented(came: list[tuple[str, int]]) -> None:
    """What the records say adds up to what came."""
    counted, now, told = Refusals(), 0, 0
    for code, step in came:
        now += step
        counted, times = refusals.refused(counted, code, now)
        told += times
    _, left = refusals.swept(counted, now + MINUTE_MS)
    assert told + sum(left.values()) == len(came)


def test_outbox_when_full_then_waits_for_the_broker() -> None:
    """At most 64 records are in flight."""
    box = Outbox()
    for n in range(1, 65):
        box = outbox.sent(box, n)
    assert box.room == 0
    assert outbox.delivered(box, 3).room == 1


def test_outbox_when_connection_is_new_then_begins_at_the_receipted_record() -> None:
    """Sent but not receipted is sent again; a lower receipt (a restored console) begins there."""
    box = outbox.receipted(outbox.sent(outbox.sent(Outbox(), 1), 2), 1)
    assert outbox.restarted(box) == Outbox(1, 1)
    assert outbox.receipted(Outbox(9, 9), 4) == Outbox(4, 4)


def test_timers_when_some_are_due_then_earliest_first_and_the_wait_ends_at_the_next() -> None:
    """Waiting ends when the next timer is due, and after ten seconds at most while a session is live."""
    assert timers.due({"b": 5, "a": 3, "c": 9}, 5) == ("a", "b")
    assert timers.wait_s({"c": 9_000}, 5_000, is_live=False) == 4
    assert timers.wait_s({}, 0, is_live=True) == timers.LIVE_WAIT_S


def test_signing_when_only_idle_records_wait_then_library_is_not_worth_loading() -> None:
    """Starting and refusing rubbish do not make an idle agent grow."""
    assert not policy.is_worth_signing(["agent.started", "order.refused"])
    assert policy.is_worth_signing(["agent.started", "order.accepted"])
    assert not policy.is_worth_signing([])
