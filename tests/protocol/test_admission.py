"""The judge: order of its questions, what mutated orders come to, and that only it makes a Verified."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import pytest
from doorward_protocol.admission import DoorPolicy, Held, Refused, Verified, judge
from doorward_protocol.orders import Order, order_from_payload
from doorward_protocol.reasons import REASONS
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.cast import (
    ENDED,
    HELD_DOOR,
    NOW,
    STALE,
    STRANGER,
    Draft,
    named,
    open_body,
    standing,
    with_envelope,
    with_payload,
)
from tests.protocol.order_vectors import order_vectors


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to spoil an order: in what is signed, or in the envelope around it."""

    code: str
    in_draft: Callable[[Draft], Draft] = lambda draft: draft
    in_raw: Callable[[bytes], bytes] = lambda raw: raw


def _says(**fields: Any) -> Callable[[Draft], Draft]:
    return lambda draft: replace(draft, message={**draft.message, **fields})


def _asks(**fields: Any) -> Callable[[Draft], Draft]:
    def change(draft: Draft) -> Draft:
        assert not isinstance(draft.body, str)
        return replace(draft, body={**draft.body, **fields})

    return change


def order_payload(raw: bytes) -> bytes:
    """Take the signed bytes out of an envelope, whoever signed it."""
    return base64.b64decode(json.loads(raw)["payload"])


FAULTS: Final = (
    Fault("order.too-large", in_raw=lambda raw: raw.ljust(65_537)),
    Fault("order.not-an-envelope", in_raw=lambda raw: b"!" + raw),
    Fault("order.wrong-type", in_raw=lambda raw: with_envelope(raw, payloadType="application/vnd.doorward.ask+json")),
    Fault("order.unsigned", in_raw=lambda raw: with_envelope(raw, signatures=[])),
    Fault("order.unknown-key", in_draft=lambda draft: replace(draft, signer=STRANGER)),
    Fault("order.bad-signature", in_raw=lambda raw: with_payload(raw, order_payload(raw) + b" ")),
    Fault("order.unknown-version", in_draft=_says(v=2)),
    Fault("order.malformed", in_draft=_says(issued_at="now")),
    Fault("order.other-device", in_draft=_says(device=named("d", "other"))),
    Fault("order.stale-nonce", in_draft=_says(nonce=STALE)),
    Fault("order.lower-revision", in_draft=_says(revision=HELD_DOOR.number - 1)),
    Fault("order.session-ended", in_draft=_asks(session=ENDED)),
    Fault("order.past-its-end", in_draft=_asks(ends_at=NOW - 1)),
    Fault("order.too-long", in_draft=_asks(duration_s=86_401)),
    Fault("order.not-allowed", in_draft=_asks(login={"user": "root", "authorized_keys": []})),
)
"""One fault for each question, in the order in which protocol.md asks them."""


def _spoiled(*faults: Fault) -> bytes:
    """Write an order with all ``faults``; those of the outside are put on from the inmost to the outmost."""
    draft = Draft()
    for fault in faults:
        draft = fault.in_draft(draft)
    raw = draft.raw()
    for fault in reversed(faults):
        raw = fault.in_raw(raw)
    return raw


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_judge_when_order_has_one_fault_then_its_code_is_answered(fault: Fault) -> None:
    """Each fault alone has its own code."""
    verdict = judge(_spoiled(fault), standing())
    assert isinstance(verdict, Refused)
    assert verdict.code == fault.code


@pytest.mark.threat("broker-forgery")
@pytest.mark.parametrize(
    ("earlier", "later"), tuple(combinations(FAULTS, 2)), ids=lambda fault: fault.code.removeprefix("order.")
)
def test_judge_when_order_has_two_faults_then_the_earlier_question_refuses(earlier: Fault, later: Fault) -> None:
    """The first no ends the judging: nothing behind it is looked at."""
    verdict = judge(_spoiled(earlier, later), standing())
    assert isinstance(verdict, Refused)
    assert verdict.code == earlier.code


def test_judge_when_equal_revision_differs_then_alarm_precedes_policy() -> None:
    """Two bodies under one revision are reported as that, whatever the second one asks for."""
    raw = Draft(open_body(session=ENDED), {"revision": HELD_DOOR.number}).raw()
    assert judge(raw, standing()) == Refused("order.other-digest", order_of(raw).id, HELD_DOOR, "door")


def order_of(raw: bytes) -> Order:
    """Read the order in an envelope, whoever signed it."""
    return order_from_payload(order_payload(raw))


def test_judge_when_part_was_never_ordered_then_its_first_revision_is_obeyed() -> None:
    """A device that has just joined starts at (0, 0) and obeys what comes above it."""
    fresh = standing()._replace(held={})
    assert isinstance(judge(Draft(message={"epoch": 0, "revision": 1}).raw(), fresh), Verified)


def test_judge_when_device_holds_no_nonce_then_nothing_is_obeyed() -> None:
    """A device that has not asked obeys nobody."""
    verdict = judge(Draft().raw(), standing()._replace(nonces=()))
    assert isinstance(verdict, Refused)
    assert verdict.code == "order.stale-nonce"


def test_judge_when_settings_exceed_their_size_then_order_is_malformed() -> None:
    """A settings document is at most 32 KiB."""
    body = json.dumps({"values": {"text": "x" * 32_768}})
    assert judge(Draft(body, {"part": "settings"}).raw(), standing()) == Refused("order.malformed")


def test_verified_when_made_by_another_then_it_cannot_be() -> None:
    """Nothing but the judge makes an order that may be obeyed."""
    with pytest.raises(TypeError, match="only judge"):
        Verified(order_of(Draft().raw()), is_repeat=False)


OBEYED: Final = tuple(one["raw"].encode() for one in order_vectors() if one["expect"]["obeyed"] and "pad_to" not in one)
REFUSED: Final = tuple(one["raw"].encode() for one in order_vectors() if not one["expect"]["obeyed"] and "raw" in one)
EMPTY_HANDED: Final = standing()._replace(held={}, policy=DoorPolicy(86_400, "remote-admin"))


def _still_known(raw: bytes, original: bytes) -> bool:
    """Tell whether what was signed, and by whom, is the same in both."""
    ours, theirs = json.loads(raw), json.loads(original)
    return bool(ours["payload"] == theirs["payload"] and ours["signatures"][0]["sig"] == theirs["signatures"][0]["sig"])


def _answers(raw: bytes, original: bytes) -> None:
    """Hold what is true of every input: an answer with a known code, and no yes to other signed bytes."""
    for who in (standing(), standing(as_runner=True), EMPTY_HANDED):
        match judge(raw, who):
            case Refused(code):
                assert code in REASONS
            case Verified():
                assert _still_known(raw, original)


@pytest.mark.threat("broker-forgery")
@given(st.sampled_from(OBEYED), st.integers(0, 4000), st.integers(1, 255))
def test_judge_when_one_byte_is_changed_then_it_answers_and_obeys_no_other_order(raw: bytes, at: int, by: int) -> None:
    """Whatever byte a broker changes, the judge answers, and obeys only what was signed."""
    changed = bytearray(raw)
    changed[at % len(raw)] ^= by
    _answers(bytes(changed), raw)


@given(st.sampled_from(OBEYED + REFUSED), st.integers(0, 4000), st.binary(max_size=40), st.integers(0, 60))
def test_judge_when_bytes_are_put_in_or_cut_out_then_it_answers(raw: bytes, at: int, put: bytes, cut: int) -> None:
    """Broken messages are answered with a code and never with an exception."""
    at %= len(raw) + 1
    _answers(raw[:at] + put + raw[at + cut :], raw)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS: Final = ("type", "v", "id", "project", "device", "nonce", "runner_nonce", "issued_at", "part", "epoch", "revision", "body")  # fmt: skip


@given(st.sampled_from(FIELDS), JSON)
def test_judge_when_signed_message_has_a_strange_field_then_it_answers(name: str, value: Any) -> None:
    """Not even the key's owner can make the judge stumble: any JSON in any field has its answer."""
    verdict = judge(Draft(message={name: value}).raw(), standing())
    assert isinstance(verdict, Verified) or verdict.code in REASONS


@given(st.sampled_from(sorted(open_body())), JSON)
def test_judge_when_signed_body_has_a_strange_field_then_it_answers(name: str, value: Any) -> None:
    """The same holds for every field of a body."""
    verdict = judge(Draft(open_body(**{name: value})).raw(), standing())
    assert isinstance(verdict, Verified) or verdict.code in REASONS


@given(st.sampled_from(("payloadType", "payload", "signatures")), JSON)
def test_judge_when_envelope_has_a_strange_field_then_it_is_refused(name: str, value: Any) -> None:
    """An envelope that is not the signed one is never obeyed."""
    raw = Draft().raw()
    verdict = judge(with_envelope(raw, **{name: value}), standing())
    assert isinstance(verdict, Refused)
    assert verdict.code in REASONS


@given(st.binary(max_size=300))
def test_judge_when_bytes_are_anything_then_they_are_refused(raw: bytes) -> None:
    """Noise is refused."""
    assert isinstance(judge(raw, standing()), Refused)


@given(st.integers(0, 30), st.integers(0, 3_000_000), st.integers(0, 30), st.integers(0, 3_000_000))
def test_judge_when_revisions_are_compared_then_only_a_step_ahead_is_obeyed(
    epoch: int, number: int, held_epoch: int, held_number: int
) -> None:
    """Obeyed is what is above the held pair and within a console's reach, and nothing else."""
    held = Held(type(HELD_DOOR)(held_epoch, held_number), None)
    verdict = judge(Draft(message={"epoch": epoch, "revision": number}).raw(), standing()._replace(held={"door": held}))
    ahead = number - held_number if epoch == held_epoch else number
    within = (held_epoch, held_number) < (epoch, number) and epoch - held_epoch <= 16 and ahead <= 1_048_576
    assert isinstance(verdict, Verified) == within
