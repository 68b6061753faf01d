"""What the signer decides, as laws: whatever it is shown, no ceiling is passed and no number goes back."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from doorward_console.maintenance.decisions import (
    LONGEST_WAIT,
    Ceilings,
    ExtendFacts,
    OnFacts,
    extended_end,
    next_revision,
    refusal_of_extension,
    refusal_of_on,
    remaining_s,
)
from doorward_protocol.reasons import REASONS
from doorward_protocol.revisions import Revision, is_too_far_ahead
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
GOOD = OnFacts(
    role="owner", asked_at=NOW, duration_s=600, is_blocked=False, has_joined=True, has_relay=True,
    relay_is_paired=True, port_is_taken=False, has_engineer_pair=True, live_sessions=0,
)  # fmt: skip

roles = st.sampled_from([None, "viewer", "engineer", "admin", "owner", "king"])
times = st.integers(-300, 300).map(lambda seconds: NOW + timedelta(seconds=seconds))
on_facts = st.builds(
    OnFacts, role=roles, asked_at=times, duration_s=st.integers(-10, 100_000), live_sessions=st.integers(0, 200)
)
ceilings = st.builds(
    Ceilings,
    st.integers(1, 90_000),
    st.integers(1, 150),
    st.lists(st.sampled_from(["owner", "admin", "engineer", "viewer"])).map(tuple),
)
extensions = st.builds(
    ExtendFacts, role=roles, asked_at=times, duration_s=st.integers(1, 100_000), is_blocked=st.booleans(),
    is_live=st.booleans(), requested_at=times, ends_at=times,
)  # fmt: skip


def test_on_when_all_is_well_then_no_refusal() -> None:
    """The good case is allowed, or all laws below would hold for nothing."""
    assert refusal_of_on(GOOD, Ceilings(), NOW) is None


@pytest.mark.threat("web-process-ceilings", "member-toggles")
@given(on_facts, ceilings)
def test_on_when_allowed_then_within_every_ceiling(facts: OnFacts, limits: Ceilings) -> None:
    """Whatever web claims, what is allowed is entitled, fresh, short enough, and not one too many."""
    code = refusal_of_on(facts, limits, NOW)
    if code is not None:
        assert code in REASONS
        return
    assert facts.role in {"owner", "admin"}
    assert facts.role in limits.may_open_roles
    assert 0 < facts.duration_s <= limits.longest_session_s
    assert facts.live_sessions < limits.most_open_sessions
    assert NOW - facts.asked_at <= LONGEST_WAIT
    assert facts.has_joined
    assert facts.has_relay
    assert facts.relay_is_paired
    assert facts.has_engineer_pair
    assert not facts.is_blocked
    assert not facts.port_is_taken


@pytest.mark.parametrize("role", ["engineer", "viewer"])
def test_on_when_ceilings_name_a_role_without_the_right_then_still_refused(role: str) -> None:
    """The ceilings' file can take roles away and never give a right."""
    generous = Ceilings(may_open_roles=("owner", "admin", "engineer", "viewer"))
    assert refusal_of_on(replace(GOOD, role=role), generous, NOW) == "signer.not-entitled"


@given(extensions, ceilings)
def test_extension_when_allowed_then_total_within_the_ceiling_and_end_not_earlier(
    facts: ExtendFacts, limits: Ceilings
) -> None:
    """An allowed extension ends no earlier than before and no later than the ceiling after the first request."""
    code = refusal_of_extension(facts, limits, NOW)
    if code is not None:
        assert code in REASONS
        return
    end = extended_end(facts, NOW)
    assert facts.ends_at <= end <= facts.requested_at + timedelta(seconds=limits.longest_session_s)
    assert facts.is_live
    assert not facts.is_blocked


@given(st.integers(0, 40), st.integers(1, 2**40), st.integers(0, 16))
def test_next_revision_when_given_then_higher_and_never_too_far(epoch: int, number: int, step: int) -> None:
    """Each revision is above the last, also into a new epoch, and a device never finds it too far ahead."""
    held = Revision(epoch, number)
    made = next_revision(held, epoch + step)
    assert made > held
    assert not is_too_far_ahead(made, held)
    assert next_revision(None, epoch) == (epoch, 1)


@given(st.integers(0, 10**12))
def test_remaining_when_rounded_then_whole_seconds_upwards(microseconds: int) -> None:
    """The device's own count is never shorter than what is left, and never zero."""
    left = timedelta(microseconds=microseconds)
    seconds = remaining_s(NOW + left, NOW)
    assert seconds >= 1
    assert timedelta(seconds=seconds) >= left
    assert timedelta(seconds=seconds) - left <= timedelta(seconds=1)
