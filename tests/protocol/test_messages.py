"""Messages that are written read back, and readers of strangers' messages answer with their own errors only."""

import json
from typing import Any, Final

import pytest
from doorward_protocol import fields
from doorward_protocol.asks import ask_from_bytes
from doorward_protocol.digests import digest_of, is_digest
from doorward_protocol.envelope import Envelope, NotAnEnvelope, decode, encode, pre_authentication_encoding
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import id_from_bytes, is_id
from doorward_protocol.joining import (
    NotALine,
    join_from_text,
    pairing_from_text,
    token_digest,
    token_from_bytes,
)
from doorward_protocol.orders import (
    ApplySettings,
    ShutDoor,
    UnknownVersion,
    body_from_text,
    order_from_payload,
    payload_from_order,
    text_from_body,
)
from doorward_protocol.receipts import receipt_from_payload
from doorward_protocol.records import (
    Fact,
    Head,
    Moment,
    check_link,
    head_after,
    next_payload,
    record_from_payload,
)
from doorward_protocol.signature import BadKey, KeyRing, PublicKeyText, SignatureRefused, SigningKey, keyid_of
from doorward_protocol.topics import all_devices, device_and_leaf, topic
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.cast import DEVICE, GRANT_KEY, SESSION, Draft, open_body

KEYID: Final = keyid_of(GRANT_KEY.public)
TEXT: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
PLAIN_JSON: Final = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=4)


@given(
    st.sampled_from(("order", "record", "receipt", "grant")),
    st.binary(max_size=2000),
    st.binary(min_size=1, max_size=64),
)
def test_envelope_when_encoded_then_it_decodes_to_itself(of: str, payload: bytes, signature: bytes) -> None:
    """An envelope holds exactly the bytes that were put in."""
    envelope = Envelope(of, payload, KEYID, signature)
    assert decode(encode(envelope), expected=of) == envelope


def test_encoding_when_made_then_it_is_that_of_dsse() -> None:
    """The signed bytes are those that the DSSE specification gives for this type and payload."""
    kind = b"application/vnd.doorward.order+json"
    assert pre_authentication_encoding("order", b"{}") == b"DSSEv1 35 " + kind + b" 2 {}"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_signature_when_payload_differs_then_it_is_refused(payload: bytes, other: bytes) -> None:
    """A key vouches for the bytes that it signed and for no others."""
    ring = KeyRing([GRANT_KEY.public])
    sealed = decode(GRANT_KEY.seal("order", payload), expected="order")
    assert ring.verify(sealed) == payload
    if other != payload:
        with pytest.raises(SignatureRefused, match="bad-signature"):
            ring.verify(Envelope("order", other, sealed.keyid, sealed.signature))


def test_signature_when_type_differs_then_it_is_refused() -> None:
    """The type is signed with the payload: a grant is never an order."""
    sealed = decode(GRANT_KEY.seal("grant", b"{}"), expected="grant")
    with pytest.raises(SignatureRefused, match="bad-signature"):
        KeyRing([GRANT_KEY.public]).verify(Envelope("order", sealed.payload, sealed.keyid, sealed.signature))


@given(st.text(max_size=60))
def test_public_key_when_text_is_none_then_it_is_refused(text: str) -> None:
    """Only 32 bytes of base64 are a key."""
    with pytest.raises(BadKey):
        keyid_of(PublicKeyText(text))


def test_signing_key_when_printed_then_its_secret_is_not_there() -> None:
    """A private key cannot be printed by accident."""
    key = SigningKey.generate()
    for shown in (repr(key), str(key), f"{key}"):
        assert key.raw().hex() not in shown
        assert repr(key.raw()) not in shown
        assert "***" in shown


def test_order_when_read_and_written_then_its_payload_is_the_same() -> None:
    """An order survives reading byte for byte, so that it can be signed again."""
    payload = Draft().payload()
    assert payload_from_order(order_from_payload(payload)) == payload


def test_order_when_signed_again_with_new_nonces_then_its_digest_stays() -> None:
    """The digest is over the body alone."""
    again = Draft(message={"nonce": "another", "runner_nonce": None, "issued_at": 1})
    assert order_from_payload(again.payload()).digest == order_from_payload(Draft().payload()).digest


@given(PLAIN_JSON)
def test_settings_body_when_written_then_it_reads_back(values: dict[str, Any]) -> None:
    """Settings are whatever JSON object the owner wants."""
    assert body_from_text("settings", text_from_body(ApplySettings(values))) == ApplySettings(values)


def test_door_bodies_when_written_then_they_read_back() -> None:
    """Both bodies of a door order read back as themselves."""
    opened = body_from_text("door", json.dumps(open_body()))
    for body in (opened, ShutDoor(None), ShutDoor(SESSION)):
        assert body_from_text("door", text_from_body(body)) == body


@given(st.lists(PLAIN_JSON, min_size=1, max_size=5), st.integers(0, 3))
def test_chain_when_records_follow_one_another_then_each_links(datas: list[dict[str, Any]], epoch: int) -> None:
    """A chain of any records links, and a record that is left out, doubled or changed breaks it."""
    last, payloads = Head(epoch), []
    for data in datas:
        payload = next_payload("device:" + DEVICE, last, Moment(1), Fact("order.accepted", data=data), {})
        assert check_link(last, record_from_payload(payload)) is None
        last = head_after(payload, last)
        payloads.append(payload)
    assert record_from_payload(payloads[-1]).head == last
    assert check_link(last, record_from_payload(payloads[-1])) is not None
    if len(payloads) > 1:
        assert check_link(Head(epoch), record_from_payload(payloads[1])) is not None
        forged = Head(epoch, 1, digest_of(payloads[0] + b" "))
        assert check_link(forged, record_from_payload(payloads[1])) is not None


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Head(0, 0), None),
        (Head(0, 1), "record 1 follows record 1"),
        (Head(1, 0), "epoch 0 follows epoch 1"),
        (Head(0, 0, digest_of(b"another")), "does not name the digest"),
    ],
)
def test_chain_when_next_record_does_not_fit_then_it_is_said_why(last: Head, says: str | None) -> None:
    """Number, epoch and digest each break a chain, and the break is named."""
    first = record_from_payload(next_payload("device:" + DEVICE, Head(), Moment(1), Fact("agent.started"), {}))
    found = check_link(last, first)
    assert found == says if says is None else found is not None and says in found


READERS: Final = (ask_from_bytes, order_from_payload, receipt_from_payload, record_from_payload)


@given(st.sampled_from(READERS), st.binary(max_size=200) | PLAIN_JSON.map(lambda one: json.dumps(one).encode()))
def test_reader_when_given_anything_then_only_its_own_errors_come(reader: Any, raw: bytes) -> None:
    """A stranger's bytes raise Malformed or UnknownVersion, and nothing that would end a process."""
    with pytest.raises((Malformed, UnknownVersion)):
        reader(raw)


@given(st.text(max_size=200))
def test_lines_when_anything_is_pasted_then_a_sentence_explains(text: str) -> None:
    """Whatever is pasted for a join string or a pairing line is read or refused with a sentence."""
    for reader in (join_from_text, pairing_from_text):
        with pytest.raises(NotALine, match=r"\.$"):
            reader(text)


@pytest.mark.parametrize("raw", [
        b"[" * 100_000, b'{"a":1,"a":2}', b'{"a":Infinity}', b'{"a":1e400}', b"\xff{}", b"null", b"",
        '{"a":1}'.encode("utf-16"), '\ufeff{"a":1}'.encode(), b'{"a":["\\ud800"]}', b'{"\\u0000":1}',
        b'{"a":%s}' % (b"1" * 5000),
    ],
    ids=range(12),
)  # fmt: skip
def test_object_when_bytes_are_no_plain_object_then_malformed(raw: bytes) -> None:
    """What another reader could take otherwise, or a database could not store, is refused before anything is read."""
    with pytest.raises(Malformed):
        fields.object_from_json(raw)


def test_malformed_when_printed_then_the_value_is_not_there() -> None:
    """An error names the field and never its value, which may be a secret."""
    with pytest.raises(Malformed) as caught:
        fields.integer({"token": "hunter2"}, "token")
    assert "hunter2" not in str(caught.value)


@given(st.sampled_from("drpso"), st.binary(min_size=10, max_size=10))
def test_id_when_made_then_it_is_of_its_kind_alone(kind: str, chance: bytes) -> None:
    """An id names its kind."""
    made = id_from_bytes(kind, chance)
    assert [one for one in "drpso" if is_id(one, made)] == [kind]
    assert not is_id(kind, made + "\n")


@pytest.mark.parametrize("make", [lambda: id_from_bytes("d", b"short"), lambda: id_from_bytes("x", bytes(10))])
def test_id_when_kind_or_chance_is_wrong_then_it_is_refused(make: Any) -> None:
    """No id is made of too little chance or of an unknown kind."""
    with pytest.raises(ValueError, match="id"):
        make()


def test_token_when_made_then_only_its_digest_needs_keeping() -> None:
    """A token has 26 characters of base32, and what is stored does not contain it."""
    token = token_from_bytes(bytes(range(17)))
    assert len(token) == 26
    assert token not in token_digest(token)
    with pytest.raises(ValueError, match="17"):
        token_from_bytes(b"few")


def test_topic_when_taken_apart_then_only_ours_are_known() -> None:
    """Topics are built and read in one place; foreign ones are none."""
    assert device_and_leaf(topic(DEVICE, "ask")) == (DEVICE, "ask")
    for foreign in ("doorward/v1/device/x/ask", f"doorward/v1/device/{DEVICE}/shell", f"x/{topic(DEVICE, 'ask')}"):
        assert device_and_leaf(foreign) is None
    assert all_devices("ask") == "doorward/v1/device/+/ask"


def test_digest_when_shape_is_checked_then_only_lower_hex_counts() -> None:
    """A digest has one spelling."""
    made = digest_of(b"")
    assert is_digest(made)
    assert not is_digest(made.upper())
    assert not is_digest(made + "\n")


def test_envelope_when_too_large_then_it_is_not_even_parsed() -> None:
    """Size comes first: 65,537 bytes of nothing are too large, not malformed."""
    with pytest.raises(NotAnEnvelope, match="too-large"):
        decode(b" " * 65_537, expected="order")
