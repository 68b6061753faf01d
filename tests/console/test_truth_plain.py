"""What is true of a session at a plain relay: the worker's probe and the device's signed word are all there is."""

from dataclasses import replace

import pytest
from doorward_console.maintenance.facts import (
    ANSWERED,
    DEVICE_ACCEPTED,
    DOOR_OPENED,
    ORDERED,
    TUNNEL_UP,
    Answered,
    DeviceObeyed,
    DeviceShut,
    Fact,
    Stepped,
    TimePassed,
    Unanswered,
    fact_from_record,
)
from doorward_console.maintenance.truth import (
    GIVE_UP_MS,
    GRACE_MS,
    STILL_ANSWERS_MS,
    UP_MS,
    Standing,
    State,
    Step,
    after,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.console.test_truth import record

START = 1_790_000_000_000
END = START + 3_600_000
NOW = START + 60_000

ASKED = Standing(State.OPENING, START, END, is_plain=True)
TOLD = replace(ASKED, steps=(Step(ORDERED, START + 100, None),))
UP = replace(ASKED, steps=(*TOLD.steps, Step(DOOR_OPENED, NOW - UP_MS, None)))
RETRYING = replace(TOLD, code="tunnel.port-refused", steps=(*TOLD.steps, Step(TUNNEL_UP, NOW, "tunnel.port-refused")))
OPEN = replace(UP, state=State.OPEN, opened_at=NOW)
LOST = replace(OPEN, lost_at=NOW, code="session.lost")
CLOSING = replace(OPEN, state=State.CLOSING, closing_at=NOW, code="session.turned-off")
NEVER_TOLD = replace(ASKED, state=State.CLOSING, closing_at=NOW, code="session.turned-off")
SHUT = replace(CLOSING, device_shut_at=NOW)
OBEYED = replace(CLOSING, obeyed_at=NOW)

REFUSED = Unanswered(NOW, "probe.refused")
OTHER = Unanswered(NOW, "probe.other-banner")
LATE = END + GRACE_MS

TABLE: list[tuple[Standing, Fact, State, str, tuple[str, ...]]] = [
    # standing    fact                                  then           code                   notes
    (ASKED,       REFUSED,                              State.OPENING, "",                    ()),
    (TOLD,        REFUSED,                              State.OPENING, "",                    ()),
    (UP,          REFUSED,                              State.OPENING, "probe.not-public",    ()),
    (UP,          Unanswered(NOW - 1, "probe.refused"), State.OPENING, "",                    ()),
    (RETRYING,    REFUSED,                              State.OPENING, "tunnel.port-refused", ()),
    (TOLD,        OTHER,                                State.OPENING, "probe.other-banner",  ()),
    (TOLD,        Unanswered(NOW, "probe.silent"),      State.OPENING, "probe.silent",        ()),
    (UP,          Answered(NOW),                        State.OPEN,    "",                    ("session.opened",)),
    (UP,          Stepped(DOOR_OPENED, NOW),            State.OPENING, "",                    ()),
    (OPEN,        REFUSED,                              State.OPEN,    "session.lost",        ("session.lost",)),
    (OPEN,        OTHER,                                State.OPEN,    "session.lost",        ("session.lost",)),
    (LOST,        REFUSED,                              State.OPEN,    "session.lost",        ()),
    (LOST,        Answered(NOW),                        State.OPEN,    "",                    ("session.opened",)),
    (CLOSING,     REFUSED,                              State.CLOSING, "session.turned-off",  ()),
    (CLOSING,     DeviceShut(NOW),                      State.CLOSING, "session.turned-off",  ()),
    (CLOSING,     DeviceObeyed(NOW),                    State.CLOSING, "session.turned-off",  ()),
    (CLOSING,     TimePassed(LATE, True, START),        State.CLOSING, "session.turned-off",  ()),
    (CLOSING,     Unanswered(LATE, "probe.refused"),    State.CLOSED,  "session.turned-off",  ("session.closed",)),
    (CLOSING,     Unanswered(LATE - 1, "probe.refused"), State.CLOSING, "session.turned-off", ()),
    (CLOSING,     Answered(LATE),                       State.CLOSING, "relay.not-closed",    ()),
    (CLOSING,     Answered(LATE - 1),                   State.CLOSING, "session.turned-off",  ()),
    (SHUT,        REFUSED,                              State.CLOSED,  "session.turned-off",  ("session.closed",)),
    (SHUT,        OTHER,                                State.CLOSED,  "session.turned-off",  ("session.closed",)),
    (SHUT,        Answered(NOW + 1),                    State.CLOSING, "session.turned-off",  ()),
    (SHUT,        Answered(NOW + STILL_ANSWERS_MS),     State.CLOSING, "relay.not-closed",    ()),
    (OBEYED,      REFUSED,                              State.CLOSED,  "session.turned-off",  ("session.closed",)),
    (NEVER_TOLD,  REFUSED,                              State.CLOSED,  "session.turned-off",  ("session.closed",)),
    (NEVER_TOLD,  Answered(NOW),                        State.CLOSING, "session.turned-off",  ()),
]  # fmt: skip


@pytest.mark.feature("E2", "E3")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].state.value}-{row[0].code}-{row[1]}"[:90])
def test_session_at_a_plain_relay_when_a_fact_becomes_known_then_it_is_what_the_table_says(
    row: tuple[Standing, Fact, State, str, tuple[str, ...]],
) -> None:
    """Each standing and fact at a plain relay lead to the written state, code and records."""
    standing, fact, state, code, notes = row
    outcome = after(standing, fact)
    assert (outcome.standing.state, outcome.standing.code) == (state, code)
    assert tuple(one.verb for one in outcome.notes) == notes


def test_closed_at_a_plain_relay_then_the_record_names_whose_word_it_rests_on() -> None:
    """The history says whether the device, the time, or the console alone stands for it."""
    for standing, at, by in ((SHUT, NOW, "device"), (CLOSING, LATE, "time"), (NEVER_TOLD, NOW, "console")):
        note = after(standing, Unanswered(at, "probe.refused")).notes[0]
        assert dict(note.data)["by"] == by


def test_order_that_was_on_its_way_when_turned_off_then_the_devices_word_is_waited_for() -> None:
    """OFF crosses an order to open: the console does not say shut on a probe that looks before the device opens."""
    crossed = after(NEVER_TOLD, Stepped(ORDERED, NOW)).standing
    assert after(crossed, REFUSED).standing.state is State.CLOSING
    assert after(after(crossed, DeviceObeyed(NOW)).standing, REFUSED).standing.state is State.CLOSED


def test_opening_that_never_answers_then_it_fails_with_what_the_probe_found() -> None:
    """A door that stands and cannot be reached is given up with the reason that names GatewayPorts."""
    blind = after(UP, REFUSED).standing
    failed = after(blind, TimePassed(START + GIVE_UP_MS, True, START)).standing
    assert (failed.state, failed.code) == (State.FAILED, "probe.not-public")


def test_probe_that_finds_the_same_again_and_again_then_the_page_has_one_step() -> None:
    """Seven looks a second fill neither the page nor the row."""
    standing = UP
    for at in range(50):
        standing = after(standing, Unanswered(NOW + at, "probe.other-banner")).standing
    assert [one.step for one in standing.steps].count(ANSWERED) == 1


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        ({"state": "shut"}, DeviceObeyed(NOW)),
        ({"state": "open"}, Stepped(DEVICE_ACCEPTED, NOW)),
        ({}, Stepped(DEVICE_ACCEPTED, NOW)),
    ],
)
def test_accepted_order_when_read_then_one_to_shut_is_not_taken_for_one_to_open(
    data: dict[str, object], fact: Fact
) -> None:
    """The device signs both alike; what it was told is in the record."""
    assert fact_from_record(record("device:d-aaaaaaaaaaaaaaaa", "order.accepted", **data), NOW) == fact


FACTS = st.lists(
    st.one_of(
        st.just(Answered(NOW)),
        st.builds(Unanswered, st.just(NOW), st.sampled_from(["probe.refused", "probe.silent", "probe.other-banner"])),
        st.builds(Stepped, st.sampled_from([ORDERED, DOOR_OPENED, TUNNEL_UP]), st.just(NOW)),
        st.just(TimePassed(END, True, START)),
    ),
    max_size=20,
)


@given(FACTS)
def test_session_that_was_open_then_nothing_but_the_device_or_its_end_closes_it(facts: list[Fact]) -> None:
    """Without the device's word, no order of probes and steps says closed before the end and its grace are over."""
    standing = OPEN
    for fact in facts:
        standing = after(standing, fact).standing
    assert standing.state in {State.OPEN, State.CLOSING}
