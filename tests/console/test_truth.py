"""What is true of a session: every state and every fact have a written answer, and green is the door's own word."""

from dataclasses import replace

import pytest
from doorward_console.maintenance.facts import (
    ANSWERED,
    DEVICE_ACCEPTED,
    DOOR_OPENED,
    ORDERED,
    RELAY_GRANTED,
    TUNNEL_UP,
    Answered,
    DeviceShut,
    Fact,
    Refused,
    RelayFailed,
    RelayShut,
    Silent,
    Stepped,
    TimePassed,
    fact_from_record,
)
from doorward_console.maintenance.truth import AT_REST, GIVE_UP_MS, GRACE_MS, MOST_STEPS, Standing, State, after
from doorward_protocol.records import Fact as Told
from doorward_protocol.records import Head, Moment, Record
from hypothesis import given
from hypothesis import strategies as st

START = 1_790_000_000_000
END = START + 3_600_000
NOW = START + 60_000

OPENING = Standing(State.OPENING, START, END)
OPEN = replace(OPENING, state=State.OPEN, opened_at=START + 1000)
LOST = replace(OPEN, lost_at=START + 2000, code="session.lost")
CLOSING = replace(OPEN, state=State.CLOSING, closing_at=START + 3000, code="session.turned-off")
AWAY = replace(CLOSING, code="relay.unreachable")
STUCK = replace(CLOSING, code="relay.not-closed")
AWAY_AND_SHUT = replace(AWAY, device_shut_at=START + 4000)
CLOSED = replace(CLOSING, state=State.CLOSED, closed_at=START + 5000)
FAILED = replace(OPENING, state=State.FAILED, code="grant.port-taken", closed_at=START + 5000)

WAITED = TimePassed(START + GIVE_UP_MS, is_connected=True, presence_at=START)
WAITED_AWAY = TimePassed(START + GIVE_UP_MS, is_connected=False, presence_at=START)
JUST_CAME = TimePassed(START + GIVE_UP_MS, is_connected=True, presence_at=START + GIVE_UP_MS - 1)
AT_END = TimePassed(END, is_connected=True, presence_at=START)
AFTER_GRACE = TimePassed(END + GRACE_MS, is_connected=False, presence_at=START)

TABLE: list[tuple[Standing, Fact, State, str, tuple[str, ...], bool]] = [
    # standing        fact                                     then            code                    notes               asks to shut
    (OPENING,         Stepped(RELAY_GRANTED, NOW),             State.OPENING,  "",                     (),                 False),
    (OPENING,         Stepped(ORDERED, NOW),                   State.OPENING,  "",                     (),                 False),
    (OPENING,         Stepped(DEVICE_ACCEPTED, NOW),           State.OPENING,  "",                     (),                 False),
    (OPENING,         Stepped(DOOR_OPENED, NOW),               State.OPENING,  "",                     (),                 False),
    (OPENING,         Stepped(TUNNEL_UP, NOW),                 State.OPENING,  "",                     (),                 False),
    (OPENING,         Stepped(TUNNEL_UP, NOW, "tunnel.lost"),  State.OPENING,  "tunnel.lost",          (),                 False),
    (OPENING,         Answered(NOW),                           State.OPEN,     "",                     ("session.opened",), False),
    (OPENING,         Silent(NOW, "tunnel.lost"),              State.OPENING,  "",                     (),                 False),
    (OPENING,         Refused(RELAY_GRANTED, NOW, "grant.x"),  State.FAILED,   "grant.x",              ("session.failed",), True),
    (OPENING,         DeviceShut(NOW, "door.no-user"),         State.FAILED,   "door.no-user",         ("session.failed",), True),
    (OPENING,         DeviceShut(NOW),                         State.CLOSING,  "session.turned-off",   (),                 True),
    (OPENING,         RelayShut(NOW),                          State.CLOSED,   "relay.grant-ended",    ("session.closed",), True),
    (OPENING,         RelayFailed(NOW, "relay.unreachable"),   State.OPENING,  "",                     (),                 False),
    (OPENING,         WAITED,                                  State.FAILED,   "session.no-answer",    ("session.failed",), True),
    (OPENING,         WAITED_AWAY,                             State.OPENING,  "session.no-answer",    (),                 False),
    (OPENING,         JUST_CAME,                               State.OPENING,  "",                     (),                 False),
    (OPENING,         AT_END,                                  State.CLOSING,  "session.expired",      (),                 True),
    (OPEN,            Stepped(TUNNEL_UP, NOW),                 State.OPEN,     "",                     (),                 False),
    (OPEN,            Answered(NOW),                           State.OPEN,     "",                     (),                 False),
    (OPEN,            Silent(NOW, "probe.silent"),             State.OPEN,     "session.lost",         ("session.lost",),  False),
    (OPEN,            Refused(DEVICE_ACCEPTED, NOW, "order.too-long"), State.OPEN, "",                 (),                 False),
    (OPEN,            DeviceShut(NOW, "session.turned-off"),   State.CLOSING,  "session.turned-off",   (),                 True),
    (OPEN,            DeviceShut(END, "session.expired"),      State.CLOSING,  "session.expired",      (),                 True),
    (OPEN,            RelayShut(NOW),                          State.CLOSED,   "relay.grant-ended",    ("session.closed",), True),
    (OPEN,            RelayShut(END),                          State.CLOSED,   "session.expired",      ("session.closed",), True),
    (OPEN,            RelayFailed(NOW, "relay.unreachable"),   State.OPEN,     "",                     (),                 False),
    (OPEN,            WAITED,                                  State.OPEN,     "",                     (),                 False),
    (OPEN,            AT_END,                                  State.CLOSING,  "session.expired",      (),                 True),
    (LOST,            Answered(NOW),                           State.OPEN,     "",                     ("session.opened",), False),
    (LOST,            Silent(NOW, "tunnel.lost"),              State.OPEN,     "session.lost",         (),                 False),
    (CLOSING,         Stepped(TUNNEL_UP, NOW),                 State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         Answered(NOW),                           State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         Silent(NOW, "tunnel.lost"),              State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         Refused(ORDERED, NOW, "order.x"),        State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         DeviceShut(NOW),                         State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         RelayShut(NOW),                          State.CLOSED,   "session.turned-off",   ("session.closed",), False),
    (CLOSING,         RelayFailed(NOW, "relay.unreachable"),   State.CLOSING,  "relay.unreachable",    (),                 False),
    (CLOSING,         AT_END,                                  State.CLOSING,  "session.turned-off",   (),                 False),
    (CLOSING,         AFTER_GRACE,                             State.CLOSED,   "session.turned-off",   ("session.closed",), False),
    (AWAY,            DeviceShut(NOW),                         State.CLOSED,   "relay.unreachable",    ("session.closed",), False),
    (AWAY,            RelayShut(NOW),                          State.CLOSED,   "relay.unreachable",    ("session.closed",), False),
    (AWAY,            AT_END,                                  State.CLOSING,  "relay.unreachable",    (),                 False),
    (AWAY,            AFTER_GRACE,                             State.CLOSED,   "relay.unreachable",    ("session.closed",), False),
    (STUCK,           DeviceShut(NOW),                         State.CLOSING,  "relay.not-closed",     (),                 False),
    (STUCK,           AFTER_GRACE,                             State.CLOSING,  "relay.not-closed",     (),                 False),
    (STUCK,           RelayShut(NOW),                          State.CLOSED,   "relay.not-closed",     ("session.closed",), False),
    (AWAY_AND_SHUT,   RelayFailed(NOW, "relay.unreachable"),   State.CLOSED,   "relay.unreachable",    ("session.closed",), False),
    (AWAY_AND_SHUT,   RelayFailed(NOW, "relay.not-closed"),    State.CLOSING,  "relay.not-closed",     (),                 False),
    *((rest, fact, rest.state, rest.code, (), False)
      for rest in (CLOSED, FAILED)
      for fact in (Stepped(TUNNEL_UP, NOW), Answered(NOW), Silent(NOW, "tunnel.lost"), Refused(ORDERED, NOW, "order.x"),
                   DeviceShut(NOW), RelayShut(NOW), RelayFailed(NOW, "relay.unreachable"), AT_END, AFTER_GRACE)),
]  # fmt: skip


@pytest.mark.feature("E3")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].state.value}-{row[0].code}-{row[1]}"[:90])
def test_session_when_a_fact_becomes_known_then_it_is_what_the_table_says(
    row: tuple[Standing, Fact, State, str, tuple[str, ...], bool],
) -> None:
    """Each standing and fact lead to the written state, code, records and wish to shut."""
    standing, fact, state, code, notes, asks_shut = row
    outcome = after(standing, fact)
    assert outcome.standing.state is state
    assert outcome.standing.code == code
    assert tuple(one.verb for one in outcome.notes) == notes
    assert outcome.asks_shut is asks_shut


def test_session_when_closing_and_device_says_shut_then_the_word_is_kept_beside_the_relays() -> None:
    """The device's word is shown when it comes, also after the session has closed on the relay's."""
    closed = after(CLOSING, RelayShut(NOW)).standing
    assert (closed.relay_shut_at, closed.device_shut_at) == (NOW, None)
    late = after(closed, DeviceShut(NOW + 5)).standing
    assert (late.state, late.device_shut_at) == (State.CLOSED, NOW + 5)


@pytest.mark.feature("E9", "B5")
def test_session_when_a_device_says_late_that_it_had_lost_its_tunnel_then_the_answer_since_counts() -> None:
    """Tunnel and broker broke together and the tunnel was back first: the relay says once that the door answers, and it does."""
    lost = after(OPEN, Silent(NOW, "tunnel.lost")).standing
    again = after(lost, Answered(NOW + 1_000)).standing
    late = after(again, Silent(NOW + 3_000, "tunnel.lost", happened_at=NOW - 5))
    assert (late.standing, late.notes) == (again, ())
    assert after(again, Silent(NOW + 3_000, "tunnel.lost", happened_at=NOW + 2_000)).standing.lost_at == NOW + 3_000


def test_session_when_lost_and_back_then_green_goes_and_comes() -> None:
    """Silence takes green back at once, and only an answer gives it again."""
    lost = after(OPEN, Silent(NOW, "tunnel.lost")).standing
    assert lost.lost_at == NOW
    again = after(lost, Answered(NOW + 10)).standing
    assert (again.lost_at, again.opened_at) == (None, OPEN.opened_at)


FACTS = st.one_of(
    st.builds(Stepped, st.sampled_from([ORDERED, TUNNEL_UP]), st.just(NOW), st.sampled_from([None, "tunnel.lost"])),
    st.builds(Answered, st.just(NOW)),
    st.builds(Silent, st.just(NOW), st.just("tunnel.lost")),
    st.builds(Refused, st.just(DEVICE_ACCEPTED), st.just(NOW), st.just("order.too-long")),
    st.builds(DeviceShut, st.just(NOW), st.sampled_from([None, "session.turned-off", "door.no-user"])),
    st.builds(RelayShut, st.just(NOW)),
    st.builds(RelayFailed, st.just(NOW), st.sampled_from(["relay.unreachable", "relay.not-closed"])),
    st.sampled_from([WAITED, WAITED_AWAY, AT_END, AFTER_GRACE]),
)


@given(st.lists(FACTS, max_size=25))
def test_session_whatever_happens_then_it_opens_by_answers_only_ends_once_and_can_come_to_rest(
    facts: list[Fact],
) -> None:
    """Laws: open only right after an answer; closed and failed for ever; the relay's word always brings rest; steps bounded."""
    standing = OPENING
    for fact in facts:
        was = standing
        standing = after(was, fact).standing
        if standing.state is State.OPEN and was.state is not State.OPEN:
            assert isinstance(fact, Answered)
        if was.state in AT_REST:
            assert (standing.state, standing.code) == (was.state, was.code)
        assert len(standing.steps) <= MOST_STEPS
    assert after(after(standing, RelayShut(NOW)).standing, AT_END).standing.state in AT_REST


def record(author: str, verb: str, **data: object) -> Record:
    return Record(author, Head(), None, Moment(None), Told(verb, "s-aaaaaaaaaaaaaaaa", None, data), {})


@pytest.mark.parametrize(
    ("verb", "data", "fact"),
    [
        ("order.accepted", {}, Stepped(DEVICE_ACCEPTED, NOW)),
        ("order.refused", {"code": "order.not-allowed"}, Refused(DEVICE_ACCEPTED, NOW, "order.not-allowed")),
        ("order.refused", {"code": "order.stale-nonce"}, Stepped(DEVICE_ACCEPTED, NOW, "order.stale-nonce")),
        ("door.opened", {}, Stepped(DOOR_OPENED, NOW)),
        ("door.failed", {"code": "door.no-user"}, Stepped(DOOR_OPENED, NOW, "door.no-user")),
        ("door.failed", {"code": "tunnel.lost"}, Stepped(TUNNEL_UP, NOW, "tunnel.lost")),
        ("door.failed", {"code": "tunnel.port-refused", "relay_code": "relay.port-busy"}, Stepped(TUNNEL_UP, NOW, "relay.port-busy")),
        ("door.lost", {"code": "tunnel.timeout"}, Silent(NOW, "tunnel.timeout")),
        ("door.closed", {"why": "session.expired"}, DeviceShut(NOW, "session.expired")),
        ("door.closed", {"code": "session.turned-off"}, DeviceShut(NOW, "session.turned-off")),
        ("grant.accepted", {}, Stepped(RELAY_GRANTED, NOW)),
        ("grant.ended", {"why": "expired"}, RelayShut(NOW)),
        ("tunnel.up", {}, Stepped(TUNNEL_UP, NOW)),
        ("tunnel.down", {}, Silent(NOW, "tunnel.lost")),
        ("door.answered", {"ms": 3}, Answered(NOW)),
        ("door.silent", {"code": "probe.other-banner"}, Silent(NOW, "probe.other-banner")),
        ("door.silent", {"code": 7}, Silent(NOW, "probe.silent")),
        ("visitor.came", {}, None),
    ],
)  # fmt: skip
def test_record_when_read_then_it_says_what_the_table_says(
    verb: str, data: dict[str, object], fact: Fact | None
) -> None:
    """Each verb that matters to a session has one meaning, also with data of the wrong type."""
    assert fact_from_record(record("device:d-aaaaaaaaaaaaaaaa", verb, **data), NOW) == fact


def test_record_when_a_device_says_that_its_tunnel_was_lost_then_it_says_when() -> None:
    """By the console's time, where the device knows it; a relay's clock is its own."""
    said = replace(
        record("device:d-aaaaaaaaaaaaaaaa", "door.lost", code="tunnel.lost"), moment=Moment(START, "b" * 32, 7)
    )
    assert fact_from_record(said, NOW) == Silent(NOW, "tunnel.lost", START)
    told = replace(record("relay:r-aaaaaaaaaaaaaaaa", "tunnel.down"), moment=Moment(START))
    assert fact_from_record(told, NOW) == Silent(NOW, "tunnel.lost")


def test_steps_when_the_same_failure_repeats_then_it_stands_once_and_old_ones_give_way() -> None:
    """A device that retries for hours neither fills the page with one line nor grows without bound."""
    standing = OPENING
    for at in range(100):
        standing = after(standing, Stepped(TUNNEL_UP, NOW + at, "tunnel.timeout")).standing
    assert len(standing.steps) == 1
    for at in range(100):
        standing = after(standing, Stepped(TUNNEL_UP, NOW + at, f"tunnel.{at}")).standing
    assert len(standing.steps) == MOST_STEPS
    assert ANSWERED not in {one.step for one in standing.steps}
