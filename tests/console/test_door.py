"""What a door is said to be, from every session and intent: nothing is looked up, so the tables are all there is."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from doorward_console.fleet.models import Relay
from doorward_console.maintenance.door import MISSED, STEPS, door_of, steps_of
from doorward_console.maintenance.facts import STEPS as KNOWN_STEPS
from doorward_console.maintenance.models import Intent, Session

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=timezone.utc)
MS = int(NOW.timestamp() * 1000)


def session(state: str, **given: Any) -> Session:
    """Give a session that is in no database; its relay is a managed one."""
    given = {"relay": Relay(kind="managed")} | given
    return Session(id="s-aaaaaaaaaaaaaaaa", state=state, requested_at=NOW, **given)


def intent(kind: str, state: str, **given: Any) -> Intent:
    """Give an intent that is in no database."""
    return Intent(kind=kind, state=state, at=NOW + timedelta(seconds=given.pop("later_s", 1)), **given)


@pytest.mark.parametrize(
    ("newest", "asked", "word"),
    [
        (None, None, "shut"),
        (None, intent("on", "asked"), "opening"),
        (None, intent("on", "refused", code="signer.too-long"), "failed"),
        (None, intent("on", "refused", code="session.turned-off"), "shut"),
        (None, intent("off", "asked"), "shut"),
        (None, intent("off", "done"), "shut"),
        (session("requested"), intent("on", "done"), "opening"),
        (session("opening"), intent("on", "done"), "opening"),
        (session("open"), intent("on", "done"), "open"),
        (session("open", lost_at=NOW), intent("on", "done"), "opening"),
        (session("open"), intent("extend", "asked"), "open"),
        (session("open"), intent("extend", "refused", code="signer.too-long"), "open"),
        (session("closing"), intent("off", "asked"), "closing"),
        (session("closing"), intent("on", "asked"), "closing"),
        (session("closed"), intent("off", "done"), "shut"),
        (session("closed"), intent("on", "asked"), "opening"),
        (session("closed"), intent("on", "refused", code="signer.no-keys"), "failed"),
        (session("failed", code="door.no-sshd"), intent("on", "done"), "failed"),
        (session("failed", code="door.no-sshd"), intent("off", "done"), "shut"),
        (session("failed", code="door.no-sshd"), intent("off", "done", session_id="s-aaaaaaaaaaaaaaaa"), "failed"),
        (session("failed", code="door.no-sshd"), intent("on", "asked"), "opening"),
    ],
)
def test_door_for_a_session_and_an_intent_is_what_is_and_not_what_was_asked(
    newest: Session | None, asked: Intent | None, word: str
) -> None:
    """Open is said of an open session that answers, and of nothing else."""
    assert door_of(newest, asked).word == word


def test_open_door_whose_extension_was_refused_stays_open_and_says_why() -> None:
    """A refused wish takes nothing away."""
    door = door_of(session("open"), intent("extend", "refused", code="signer.too-long"))
    assert door.reason is None
    assert door.notice is not None
    assert door.notice.code == "signer.too-long"


def test_lost_door_says_that_it_does_not_answer() -> None:
    """Green is withdrawn when the door stops answering, and the reason is there."""
    door = door_of(session("open", lost_at=NOW), None)
    assert door.is_lost
    assert door.reason is not None
    assert door.reason.code == "session.lost"


def test_steps_are_in_order_with_times_and_reasons() -> None:
    """A step that did not succeed carries its reason; one that nobody knows is shown by its name."""
    rows = [
        {"step": "relay-granted", "at": MS, "code": None},
        {"step": "tunnel-up", "at": MS + 5, "code": "tunnel.unreachable"},
        {"step": "some-day", "at": MS + 9, "code": None},
    ]
    steps = steps_of(session("opening", steps=rows))
    assert [step.name for step in steps] == ["asked", "relay-granted", "tunnel-up", "some-day"]
    assert steps[2].reason is not None
    assert steps[2].at == NOW + timedelta(milliseconds=5)
    assert steps[3].sentence == "Some day"


def test_every_step_that_the_worker_writes_has_a_sentence() -> None:
    """No step of an opening is shown by its bare name."""
    assert set(KNOWN_STEPS) <= set(STEPS)
    assert set(MISSED) == set(STEPS)


@pytest.mark.feature("E2")
def test_reason_when_the_relay_is_plain_then_the_next_step_is_one_that_works_there() -> None:
    """A plain relay knows neither grants nor doorward-relay: the same code names authorized_keys and sshd_config."""
    steps = [{"step": "tunnel-up", "at": MS, "code": "tunnel.port-refused"}]
    failed = session("failed", code="tunnel.not-admitted", steps=steps, relay=Relay(kind="plain"))
    door = door_of(failed, None)
    assert door.reason is not None
    assert "authorized_keys" in door.reason.next
    assert door.steps[-1].reason is not None
    assert "relay-server-<id>.key" in door.steps[-1].reason.next
    managed = door_of(session("failed", code="tunnel.not-admitted"), None)
    assert managed.reason is not None
    assert "doorward-relay status" in managed.reason.next
