"""The ledger's laws, as tables and as properties over long stories."""

from dataclasses import replace

import pytest
from doorward_protocol.asked import Asked
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.revisions import Revision
from doorward_relay import ledger as rules
from doorward_relay.effects import AdmitLive, CloseSession, KeepEnd, KeepGrant, WriteRecord
from doorward_relay.ledger import Changed, Ledger, Limits, Offer, Refused
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_790_000_000_000
LIMITS = Limits(20_000, 20_009, 3600)


def grant(name: str = "a", port: int = 20_000, seq: int = 1, *, epoch: int = 0, lasts_s: int = 600) -> Grant:
    return Grant(
        project=ProjectId("p-" + "a" * 16),
        relay=RelayId("r-" + "a" * 16),
        sequence=Revision(epoch, seq),
        session=SessionId(f"s-{name * 16}"),
        device=DeviceId("d-" + "a" * 16),
        issued_at=NOW,
        ends_at=NOW + lasts_s * 1000,
        forwards=(GrantedForward("ssh", "*", port),),
        banner="b" * 16,
        asked=Asked("aiko@example.com", NOW, ""),
    )


def put(ledger: Ledger, one: Grant, busy: dict[int, bool] | None = None, now: int = NOW) -> Changed | Refused:
    return rules.put(ledger, Offer(one, f"digest of {one}", busy or {}), LIMITS, now=now)


def after(*grants: Grant) -> Ledger:
    ledger = Ledger()
    for one in grants:
        step = put(ledger, one)
        assert isinstance(step, Changed)
        ledger = step.ledger
    return ledger


def test_a_grant_when_it_is_put_then_it_is_recorded_kept_and_admitted_in_this_order() -> None:
    """The record comes before the act, and what was answered is written down."""
    step = put(Ledger(), grant())
    assert isinstance(step, Changed)
    kinds = [type(one) for one in step.effects]
    assert kinds[0] is WriteRecord
    assert kinds.index(KeepGrant) < kinds.index(AdmitLive)


@pytest.mark.parametrize(
    ("ledger", "offered", "busy", "code"),
    [
        (after(grant("a", seq=5)), grant("b", 20_001, seq=5), {}, "grant.lower-sequence"),
        (after(grant("a", seq=5)), grant("b", 20_001, seq=4), {}, "grant.lower-sequence"),
        (after(grant("a", seq=5, epoch=1)), grant("b", 20_001, seq=9), {}, "grant.lower-sequence"),
        (Ledger(), grant(epoch=17), {}, "grant.too-far-ahead"),
        (Ledger(), grant(seq=2_000_000), {}, "grant.too-far-ahead"),
        (Ledger(), grant(lasts_s=0), {}, "grant.past-its-end"),
        (Ledger(), grant(lasts_s=3601), {}, "grant.too-long"),
        (Ledger(), grant(port=19_999), {}, "grant.port-not-allowed"),
        (Ledger(), grant(port=20_010), {}, "grant.port-not-allowed"),
        (after(grant("a")), grant("b", seq=2), {}, "grant.port-taken"),
        (Ledger(), grant(), {20_000: True}, "grant.port-taken"),
        (Ledger(), grant(), {20_000: False}, "relay.port-busy"),
        (Ledger(ended={grant().session: NOW}), grant(), {}, "grant.session-ended"),
    ],
)  # fmt: skip
def test_a_grant_when_it_may_not_be_put_then_the_exact_reason_is_given(
    ledger: Ledger, offered: Grant, busy: dict[int, bool], code: str
) -> None:
    """Every no has its code."""
    assert put(ledger, offered, busy) == Refused(code)


def test_a_session_when_its_grant_is_put_anew_then_it_lasts_longer_and_keeps_its_port() -> None:
    """A later grant of a live session replaces it, although its own tunnel listens on the port."""
    step = put(after(grant()), grant(seq=2, lasts_s=1200), {20_000: True})
    assert isinstance(step, Changed)
    assert step.ledger.live[grant().session].grant.ends_at == NOW + 1_200_000


def test_the_same_envelope_when_it_is_put_again_then_nothing_changes() -> None:
    """Putting is idempotent."""
    ledger = after(grant())
    assert put(ledger, grant()) == Changed(ledger)


def test_an_end_when_its_sequence_jumps_then_the_session_ends_and_the_counter_stays() -> None:
    """Nobody signs an end, so it may shut but not use up the counter."""
    step = rules.end(after(grant()), grant().session, sequence=Revision(900, 1), why="x", now=NOW)
    assert step.ledger.live == {}
    assert step.ledger.sequence == Revision(0, 1)


@pytest.mark.parametrize("before", [after(grant()), Ledger()], ids=["known", "unknown"])
def test_an_end_when_it_is_asked_for_twice_then_the_second_changes_and_writes_nothing(before: Ledger) -> None:
    """OFF again and again, as a worker asks that was not answered, costs no write and makes nothing be remembered longer."""
    once = rules.end(before, grant().session, sequence=None, why="ended", now=NOW).ledger
    twice = rules.end(once, grant().session, sequence=None, why="ended", now=NOW + 60_000)
    assert (twice.ledger, twice.effects) == (once, ())


def test_reconciling_when_a_grant_is_newer_than_the_list_then_it_is_left_alone() -> None:
    """The list speaks for what it could know."""
    ledger = after(grant("a", seq=1), grant("b", 20_001, seq=2), grant("c", 20_002, seq=3))
    step = rules.reconcile(ledger, {grant("b").session}, as_of=Revision(0, 2), now=NOW)
    assert set(step.ledger.live) == {grant("b").session, grant("c").session}
    assert [one.grant.session for one in step.effects if isinstance(one, CloseSession)] == [grant("a").session]


def test_ended_sessions_when_a_month_has_passed_then_they_are_forgotten() -> None:
    """By then the grant's own end refuses it."""
    ledger = Ledger(ended={grant().session: NOW})
    assert rules.forget(ledger, now=NOW + rules.REMEMBERED_MS - 1).ended
    assert not rules.forget(ledger, now=NOW + rules.REMEMBERED_MS).ended


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "end", "expire", "reconcile"]),
        st.sampled_from("abcde"),
        st.integers(20_000, 20_004),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_a_story_when_anything_happens_in_any_order_then_the_laws_hold(story: list[tuple[str, str, int, int]]) -> None:
    """Ended is for ever, a port is one session's, sequences rise, and every end is performed."""
    ledger, now, seq, dead = Ledger(), NOW, 0, set[str]()
    for verb, name, port, chance in story:
        now, seq, before = now + chance * 100_000, seq + chance, ledger
        if verb == "put":
            offered = replace(grant(name, port, max(seq, 1)), ends_at=now + 1 + chance * 300_000)
            step = put(ledger, offered, now=now)
        elif verb == "end":
            step = rules.end(ledger, grant(name).session, sequence=Revision(0, seq), why="x", now=now)
            dead.add(grant(name).session)
        elif verb == "expire":
            step = rules.expire(ledger, now=now)
            assert all(live.grant.ends_at > now for live in step.ledger.live.values())
        else:
            step = rules.reconcile(ledger, {grant(name).session}, as_of=Revision(0, seq), now=now)
        if isinstance(step, Refused):
            continue
        ledger = step.ledger
        closed = {one.grant.session for one in step.effects if isinstance(one, CloseSession)}
        kept = {one.session for one in step.effects if isinstance(one, KeepEnd)}
        assert closed == set(before.live) - set(ledger.live)
        assert closed <= kept
        dead |= closed
        assert not dead & set(ledger.live)
        assert ledger.sequence >= before.sequence
        ports = [port for live in ledger.live.values() for port in rules.ports_of(live.grant)]
        assert len(ports) == len(set(ports))
