"""The signed test vectors, read from the file that is published, mean what they say."""

import base64
import json
from importlib.resources import files
from typing import Any, Final

import pytest
from doorward_protocol.admission import DoorPolicy, Held, Refused, Standing, Verified, judge
from doorward_protocol.asks import ask_from_bytes, bytes_from_ask
from doorward_protocol.digests import Digest, digest_of
from doorward_protocol.envelope import decode
from doorward_protocol.fields import Malformed
from doorward_protocol.grants import GrantRefused, grant_from_envelope, payload_from_grant
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.joining import (
    NotALine,
    join_from_text,
    pairing_from_text,
    text_from_join,
    text_from_pairing,
)
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.reasons import REASONS
from doorward_protocol.receipts import payload_from_receipt, receipt_from_payload
from doorward_protocol.records import Head, check_link, record_from_payload
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey, keyid_of

from tests.protocol import make_vectors
from tests.protocol.order_vectors import NAMES_ITS_ORDER

VECTORS: Final[dict[str, Any]] = json.loads((files("doorward_protocol") / "vectors.json").read_bytes())
HELD: Final[dict[str, Any]] = VECTORS["standing"]


def bytes_of(vector: dict[str, Any]) -> bytes:
    """Give what travels."""
    raw = base64.b64decode(vector["raw_base64"]) if "raw_base64" in vector else vector["raw"].encode()
    return bytes(raw.ljust(vector.get("pad_to", 0)))


def standing_of(judge: str) -> Standing:
    """Give the standing that the file writes out, as another implementation would read it."""
    policy = HELD["policy"]
    return Standing(
        device=DeviceId(HELD["device"]),
        project=ProjectId(HELD["project"]),
        keys=KeyRing(HELD["grant_keys"]),
        nonces=HELD["runner_nonces" if judge == "runner" else "nonces"],
        held={
            part: Held(Revision(one["epoch"], one["revision"]), Digest(one["digest"]))
            for part, one in HELD["held"].items()
        },
        ended=frozenset(SessionId(one) for one in HELD["ended"]),
        policy=DoorPolicy(policy["longest_s"], policy["login_user"], tuple(policy["targets"])),
        judges_as_runner=judge == "runner",
    )


def by_name(kind: str) -> list[Any]:
    """Give the vectors of one kind as parameters."""
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS[kind]]


def test_vectors_when_made_again_then_the_published_file_is_the_same() -> None:
    """The file follows from fixed seeds: a change of it is a change of the protocol, to be looked at."""
    assert make_vectors.PATH.read_text(encoding="utf-8") == make_vectors.text(), "run: make docs"


def test_vectors_when_keys_are_made_from_their_seeds_then_ids_agree() -> None:
    """Another implementation can make the same keys and names of keys."""
    for key in VECTORS["keys"].values():
        made = SigningKey.from_raw(bytes.fromhex(key["seed_hex"]))
        assert (made.public, keyid_of(made.public)) == (key["public"], key["keyid"])


@pytest.mark.threat("broker-forgery", "broker-replay", "broker-late", "broker-retarget", "relay-opens", "worker-signs")
@pytest.mark.parametrize("vector", by_name("orders"))
def test_order_when_judged_then_the_answer_is_the_vectors(vector: dict[str, Any]) -> None:
    """Each order is obeyed, or refused with exactly the code of the first question that it fails."""
    verdict = judge(bytes_of(vector), standing_of(vector["judge"]))
    expected = vector["expect"]
    match verdict:
        case Verified():
            assert expected == {"obeyed": True, "repeat": verdict.is_repeat}
        case Refused():
            assert expected == {"obeyed": False, "code": verdict.code}
            assert (verdict.order is not None) == (verdict.code in NAMES_ITS_ORDER)


def test_orders_when_all_are_read_then_every_code_of_an_order_is_among_them() -> None:
    """There is an example of each way in which an order is refused."""
    shown = {vector["expect"].get("code") for vector in VECTORS["orders"]} - {None}
    assert shown == {code for code in REASONS if code.startswith("order.")}


def test_records_when_read_in_turn_then_each_continues_the_chain() -> None:
    """A chain links, each record's digest is over its payload, and its author's key vouches for it."""
    last = Head()
    ring = KeyRing([VECTORS["keys"]["device"]["public"]])
    for vector in VECTORS["records"]:
        payload = ring.verify(decode(vector["raw"].encode(), expected="record"))
        record = record_from_payload(payload)
        assert payload.decode() == vector["payload"]
        assert (record.head.digest, check_link(last, record)) == (vector["digest"], None)
        last = record.head


@pytest.mark.parametrize("vector", by_name("receipts"))
def test_receipt_when_read_and_written_then_nothing_changes(vector: dict[str, Any]) -> None:
    """A receipt by the record key reads back to the bytes that were signed."""
    ring = KeyRing([VECTORS["keys"]["record"]["public"]])
    payload = ring.verify(decode(vector["raw"].encode(), expected="receipt"))
    assert payload_from_receipt(receipt_from_payload(payload)) == payload == vector["payload"].encode()


@pytest.mark.threat("worker-signs")
@pytest.mark.parametrize("vector", by_name("grants"))
def test_grant_when_read_by_its_relay_then_the_answer_is_the_vectors(vector: dict[str, Any]) -> None:
    """A relay reads a grant for itself by the pinned key, and refuses the others with their code."""
    raw, keys = vector["raw"].encode(), KeyRing(HELD["grant_keys"])
    code = None
    try:
        grant = grant_from_envelope(raw, keys, relay=RelayId(HELD["relay"]), project=ProjectId(HELD["project"]))
        assert payload_from_grant(grant) == decode(raw, expected="grant").payload
    except GrantRefused as refused:
        code = refused.code
    assert code == vector["code"]


@pytest.mark.parametrize("vector", by_name("asks"))
def test_ask_when_read_then_it_is_one_or_it_is_not(vector: dict[str, Any]) -> None:
    """An ask reads back to what was sent; what is none is refused with one of two errors."""
    raw = vector["raw"].encode()
    try:
        assert bytes_from_ask(ask_from_bytes(raw)) == raw
        reads = True
    except (Malformed, UnknownVersion):
        reads = False
    assert reads == vector["reads"]


@pytest.mark.parametrize("vector", VECTORS["join_strings"])
def test_join_string_when_pasted_then_its_parts_are_found(vector: dict[str, Any]) -> None:
    """A join string survives white space around it; a damaged one is refused with a sentence."""
    if vector["address"] is None:
        with pytest.raises(NotALine, match="Copy the whole line"):
            join_from_text(vector["text"])
        return
    line = join_from_text(vector["text"])
    assert text_from_join(line) == vector["text"].strip()
    assert (line.address, line.token, line.fingerprint) == (vector["address"], vector["token"], vector["fingerprint"])
    assert line.token not in repr(line)


@pytest.mark.parametrize("vector", VECTORS["pairing_lines"])
def test_pairing_line_when_pasted_then_its_parts_are_found(vector: dict[str, Any]) -> None:
    """A pairing line reads back; a damaged one is refused with a sentence."""
    if vector["host"] is None:
        with pytest.raises(NotALine, match="Copy the whole line"):
            pairing_from_text(vector["text"])
        return
    line = pairing_from_text(vector["text"])
    assert text_from_pairing(line) == vector["text"]
    assert (line.host, line.port, line.ssh_host_key) == (vector["host"], vector["port"], vector["ssh_host_key"])
    assert line.token not in repr(line)


def test_digest_when_taken_then_it_is_over_the_exact_text() -> None:
    """The digest in the standing is that of the body that the repeated order carries."""
    repeated = next(one for one in VECTORS["orders"] if one["expect"].get("repeat"))
    body = json.loads(decode(repeated["raw"].encode(), expected="order").payload)["body"]
    assert digest_of(body.encode()) == HELD["held"]["door"]["digest"]
