"""Commands as they are decided and believed: the signer's table, and the table of what is true of one."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from doorward_console.maintenance.commands.deciding import CONFIRMED, CommandFacts, refusal_of_command
from doorward_console.maintenance.commands.truth import (
    Begun,
    Declined,
    Ended,
    Fact,
    fact_from_record,
    refused_order,
    state_after,
)
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Command
from doorward_console.people.rights import COMMANDS, Right
from doorward_protocol.commands import MAX_ARGUMENTS_BYTES, VERBS, Outcome
from doorward_protocol.records import Fact as RecordFact
from doorward_protocol.records import Head, Moment, Record

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
WELL = CommandFacts(
    role="owner", verb="reboot", arguments={}, expires_at=NOW + timedelta(days=1), confirm="", name="press 1",
    is_blocked=False, has_joined=True, has_said_verbs=True, verbs=VERBS, waiting=0,
    is_by_nobody=False, has_way=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"verb": "explode"}, "command.unknown"),
        ({"verb": "settings-apply", "verbs": ("settings-apply",)}, "command.unknown"),
        ({"arguments": {"text": "x" * MAX_ARGUMENTS_BYTES}}, "command.too-large"),
        ({"role": None}, "signer.not-entitled"),
        ({"is_blocked": True}, "signer.blocked"),
        ({"has_joined": False}, "signer.not-joined"),
        ({"verbs": ("message",)}, "hook.missing"),
        ({"verbs": ()}, "hook.missing"),
        ({"verbs": None}, "hook.missing"),
        ({"verbs": None, "has_said_verbs": False}, None),
        ({"expires_at": NOW}, "command.expired"),
        ({"role": None, "is_by_nobody": True}, "signer.not-entitled"),
        ({"role": None, "is_by_nobody": True, "verb": "rehearse"}, None),
        ({"role": None, "verb": "rehearse"}, "signer.not-entitled"),
        ({"verb": "rehearse", "verbs": ("reboot",)}, "command.agent-too-old"),
        ({"verb": "rehearse", "has_way": False}, "signer.no-relay"),
        ({"waiting": 49}, None),
        ({"waiting": 50}, "command.too-many"),
    ],
)
def test_command_when_asked_then_the_first_no_counts(changed: dict[str, Any], code: str | None) -> None:
    """Each refusal has its own code, and whatever could be wrong is looked at again where it is signed."""
    assert refusal_of_command(replace(WELL, **changed), Ceilings(), NOW) == code


@pytest.mark.parametrize("verb", sorted(CONFIRMED))
@pytest.mark.parametrize(("typed", "code"), [("", "command.not-confirmed"), ("Press 1", "command.not-confirmed"), ("press 1", None)])  # fmt: skip
def test_command_when_it_cannot_be_taken_back_then_only_the_exact_name_confirms_it(
    verb: str, typed: str, code: str | None
) -> None:
    """A name that was typed carelessly is none."""
    assert refusal_of_command(replace(WELL, verb=verb, confirm=typed), Ceilings(), NOW) == code


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("viewer", set()),
        ("engineer", {"message", "system-info", "health", "settings-read", "rehearse", "test-forward"}),
        (
            "admin",
            {
                "message",
                "system-info",
                "health",
                "settings-read",
                "rehearse",
                "test-forward",
                "reboot",
                "suspend",
                "shutdown",
            },
        ),
        ("owner", set(VERBS)),
    ],
)
def test_command_when_a_role_asks_then_it_may_what_its_rights_say(role: str, verbs: set[str]) -> None:
    """Each command is a right of its own; a reset is the owner's alone."""
    facts = [replace(WELL, role=role, verb=verb, confirm="press 1") for verb in VERBS]
    assert {one.verb for one in facts if refusal_of_command(one, Ceilings(), NOW) is None} == verbs
    assert set(COMMANDS) == set(VERBS)
    assert COMMANDS["factory-reset"] is Right.RESET


State = Command.State
WENT_WELL, WENT_BADLY, NO = Ended(Outcome(None)), Ended(Outcome("hook.failed")), Declined("order.not-allowed")


@pytest.mark.parametrize(
    ("state", "code", "fact", "after"),
    [
        (State.ORDERED, "", Begun(), State.BEGUN),
        (State.ORDERED, "", WENT_WELL, State.DONE),
        (State.ORDERED, "", WENT_BADLY, State.FAILED),
        (State.ORDERED, "", NO, State.FAILED),
        (State.BEGUN, "", Begun(), None),
        (State.BEGUN, "", WENT_WELL, State.DONE),
        (State.BEGUN, "", WENT_BADLY, State.FAILED),
        (State.BEGUN, "", NO, None),
        (State.EXPIRED, "command.expired", Begun(), State.BEGUN),
        (State.EXPIRED, "command.expired", WENT_WELL, State.DONE),
        (State.CANCELLED, "command.cancelled", WENT_BADLY, State.FAILED),
        (State.CANCELLED, "command.cancelled", NO, None),
        (State.FAILED, "command.interrupted", WENT_WELL, State.DONE),
        (State.FAILED, "hook.failed", WENT_WELL, None),
        (State.DONE, "", WENT_BADLY, None),
        (State.DONE, "", Begun(), None),
        (State.QUEUED, "", WENT_WELL, None),
        (State.ASKED, "", Begun(), None),
        (State.REFUSED, "signer.blocked", WENT_WELL, None),
    ],
)
def test_command_when_something_is_heard_of_it_then_the_device_has_the_last_word(
    state: str, code: str, fact: Fact, after: str | None
) -> None:
    """A late word overrides what the console had only counted, and nothing overrides a device's own end."""
    assert state_after(state, code, fact) == after


def record(name: str, /, **data: Any) -> Record:
    return Record("device:d-a", Head(0, 1, None), None, Moment(1), RecordFact(name, None, None, data), {})


DONE = {"command": "c-a", "verb": "reboot", "code": None, "status": 0, "said": "", "result": None, "lasted_ms": 3}


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        (record("command.begun", command="c-a"), ("c-a", Begun())),
        (record("command.done", **DONE), ("c-a", Ended(Outcome(None, 0, "", None, 3)))),
        (record("command.done", **DONE | {"lasted_ms": "long"}), ("c-a", Ended(Outcome("hook.bad-answer")))),
        (record("command.done", **DONE | {"command": 7}), None),
        (record("door.opened", command="c-a"), None),
    ],
)
def test_record_when_it_speaks_of_a_command_then_it_is_read_and_never_in_the_way(
    said: Record, fact: tuple[str, Fact] | None
) -> None:
    """What a device says badly has ended all the same."""
    assert fact_from_record(said) == fact


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"part": "command", "order": "o-a", "code": "order.not-allowed"}, ("o-a", "order.not-allowed")),
        ({"part": "command", "order": "o-a", "code": "order.stale-nonce"}, None),
        ({"part": "door", "order": "o-a", "code": "order.not-allowed"}, None),
        ({"part": "command", "order": None, "code": "order.not-allowed"}, None),
    ],
)
def test_refusal_when_it_mends_itself_then_it_ends_no_command(
    said: dict[str, Any], named: tuple[str, str] | None
) -> None:
    """A stale nonce is told anew; any other no is for good."""
    assert refused_order(record("order.refused", **said)) == named
