"""The two tables from which pages, command lines and documents are made."""

import re
from pathlib import Path

from doorward_protocol import audit, reasons
from doorward_protocol.audit import VERBS
from doorward_protocol.reasons import AT_PLAIN_RELAY, REASONS, reason_of

ROOMS = Path(__file__).parents[2]
MOVES = {"owner", "administrator", "engineer", "device maker", "nobody"}


def test_reasons_when_read_then_each_says_what_and_what_next() -> None:
    """Every failure has a code of its own, somebody whose move it is, and two whole sentences."""
    assert len(REASONS) == len(reasons._ROWS)
    assert len(AT_PLAIN_RELAY) == len(reasons._AT_PLAIN_ROWS)
    assert AT_PLAIN_RELAY.keys() <= REASONS.keys()
    for code, reason in (*REASONS.items(), *AT_PLAIN_RELAY.items()):
        assert re.fullmatch(r"[a-z]+\.[a-z-]+", code)
        assert reason.move in MOVES
        assert reason.meaning.endswith(".")
        assert reason.next


def test_reason_when_code_is_unknown_then_it_is_explained_as_such() -> None:
    """A code of a newer neighbour is shown with the advice to update, not with an error."""
    assert reason_of("order.of-tomorrow").code == "order.of-tomorrow"
    assert "Update" in reason_of("order.of-tomorrow").next


def test_verbs_when_read_then_each_stands_once() -> None:
    """Every verb is a subject and a participle, written by one of three."""
    assert len(VERBS) == len(audit._ROWS)
    for name, verb in VERBS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
        assert verb.by in ("console", "device", "relay")
        assert verb.sentence
