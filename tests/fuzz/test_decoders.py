"""Every reader of what strangers send refuses in its own words, whatever comes: envelopes, lines, bodies, files."""

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import tomli
from doorward_agent.config import config_from_document as agent_config
from doorward_agent.errors import ConfigError as AgentFault
from doorward_console.config import ConfigError as ConsoleFault
from doorward_console.config import config_from_table as console_config
from doorward_protocol.asks import ask_from_bytes
from doorward_protocol.digests import digest_of
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed, object_from_json
from doorward_protocol.grants import _grant as grant_from_payload
from doorward_protocol.joining import NotALine, join_from_text, pairing_from_text
from doorward_protocol.orders import (
    PARTS,
    ApplySettings,
    Body,
    ConfirmSettings,
    ShutDoor,
    UnknownVersion,
    body_from_text,
    order_from_payload,
    text_from_body,
)
from doorward_protocol.receipts import receipt_from_payload
from doorward_protocol.records import record_from_payload
from doorward_protocol.revisions import Revision
from doorward_relay.config import ConfigError as RelayFault
from doorward_relay.config import config_from_document as relay_config
from doorward_relay.config import config_from_text, text_from_config
from doorward_relay.pairing import request_from_document
from doorward_relay.requests import end_request, envelope_bytes, reconcile_request, session_id
from doorward_runner.config import config_from_document as runner_config
from doorward_runner.errors import ConfigError as RunnerFault
from doorward_runner.requests import request_from_line
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.shapes import (
    NASTY,
    VECTORS,
    document_of,
    documents_like,
    each_otherwise,
    messages_like,
    messages_otherwise,
    only_refuses,
    patient,
    texts_like,
)
from tests.worlds.device import World

pytestmark = pytest.mark.feature("E9")
EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def raw_of(kind: str) -> list[bytes]:
    return [one["raw"].encode() for one in VECTORS[kind] if isinstance(one.get("raw"), str)]


def payloads_of(kind: str) -> list[bytes]:
    """Take the payloads of those vectors that are envelopes."""
    found = [payload for raw in raw_of(kind) if (payload := _payload(raw))]
    return [one for one in found if one[:1] == b"{"]


def _payload(raw: bytes) -> bytes:
    try:
        return base64.b64decode(json.loads(raw)["payload"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""


def bodies_of(part: str) -> list[bytes]:
    """Take the bodies of the vectors' orders of one part: a string within the order, so nothing that changes an order's places reaches into it."""
    orders = [found for one in payloads_of("orders") if (found := document_of(one)) is not None]
    bodies = {str(one["body"]) for one in orders if one.get("part") == part and "body" in one}
    return [one.encode() for one in sorted(bodies)]


def reader_of_bodies(part: str) -> tuple[Callable[[bytes], object], list[bytes]]:
    return lambda raw: body_from_text(part, raw.decode(errors="surrogateescape")), bodies_of(part)


READERS: Final[Mapping[str, tuple[Callable[[bytes], object], list[bytes]]]] = {
    "envelope": (lambda raw: decode(raw, expected="order"), raw_of("orders")),
    "order": (order_from_payload, payloads_of("orders")),
    **{f"body of {part}": reader_of_bodies(part) for part in PARTS},
    "record": (record_from_payload, payloads_of("records")),
    "receipt": (receipt_from_payload, payloads_of("receipts")),
    "grant": (grant_from_payload, payloads_of("grants")),
    "ask": (ask_from_bytes, raw_of("asks")),
    "runner's line": (
        request_from_line,
        [b'{"verb":"order","envelope":{},"port":40000}', b'{"verb":"close","session":null}'],
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_reader_when_what_others_stumbled_over_comes_then_it_reads_or_refuses(name: str) -> None:
    """Deep nesting, keys that stand twice, numbers without bound, half characters; in place of the message and of a part of it."""
    read, samples = READERS[name]
    inside = [sample.replace(b"{", b'{"more":' + nasty + b",", 1) for sample in samples for nasty in NASTY]
    for raw in (*NASTY, *samples, *inside):
        only_refuses(lambda raw=raw: read(raw), NotAnEnvelope, Malformed, UnknownVersion)  # type: ignore[misc]  # a default binds the loop's name


@pytest.mark.parametrize("name", READERS)
def test_reader_when_any_place_of_a_message_holds_something_else_then_it_reads_or_refuses(name: str) -> None:
    """Each place of each message in turn, with each kind of JSON there is: one that is not looked at is found whatever chance does."""
    read, samples = READERS[name]
    assert any(map(document_of, samples)), "there is nothing to change"
    for raw in messages_otherwise(samples):
        only_refuses(partial(read, raw), NotAnEnvelope, Malformed, UnknownVersion)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@patient
def test_reader_when_anything_comes_then_it_reads_or_refuses(name: str, data: st.DataObject) -> None:
    """Nothing but the reader's own refusals comes out of it."""
    read, samples = READERS[name]
    raw = data.draw(messages_like(samples))
    only_refuses(lambda: read(raw), NotAnEnvelope, Malformed, UnknownVersion)


LINES: Final = [one["text"] for kind in ("join_strings", "pairing_lines") for one in VECTORS[kind]]

WORDS: Final = (
    "",
    "²",
    "-1",
    "22x",
    "9" * 5_000,
    "x" * 70_000,
    "https://",
    "https://[::1",
    "https://a:99999",
    "https://a:b",
)


def test_join_and_pairing_line_when_any_word_of_it_is_another_then_it_is_read_or_refused() -> None:
    """Each word of each line in turn."""
    for words in map(str.split, LINES):
        for place, other in itertools.product(range(len(words)), WORDS):
            text = " ".join([*words[:place], other, *words[place + 1 :]])
            only_refuses(partial(join_from_text, text), NotALine)
            only_refuses(partial(pairing_from_text, text), NotALine)


@given(texts_like(LINES) | st.text())
@patient
def test_join_and_pairing_line_when_anything_was_pasted_then_it_is_read_or_refused(text: str) -> None:
    """A line that somebody pasted badly is refused as no line."""
    only_refuses(lambda: join_from_text(text), NotALine)
    only_refuses(lambda: pairing_from_text(text), NotALine)


BODIES: Final[Mapping[str, tuple[Callable[[Mapping[str, Any]], object], dict[str, Any]]]] = {
    "end": (end_request, {"epoch": 1, "seq": 4, "why": "session.turned-off"}),
    "reconcile": (reconcile_request, {"epoch": 1, "as_of": 4, "sessions": ["s-aaaaaaaaaaaaaaaa"]}),
    "put": (lambda body: envelope_bytes(body, "grant"), {"grant": {"payloadType": "x", "payload": "", "signatures": []}}),
    "pair": (
        request_from_document,
        {"token": "a" * 26, "relay": "r-" + "a" * 16, "project": "p-" + "a" * 16, "epoch": 0, "grant_key": "a" * 44,
         "record_key": "a" * 44, "tunnel_ca": "ssh-ed25519 AAAA", "client_certificate": "x"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_control_body_when_any_place_of_it_holds_something_else_then_it_is_read_or_refused(name: str) -> None:
    """Each place in turn."""
    read, sample = BODIES[name]
    for raw in messages_otherwise([json.dumps(sample).encode()]):
        only_refuses(lambda raw=raw: read(object_from_json(raw)), Malformed)  # type: ignore[misc]  # a default binds the loop's name


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
@patient
def test_control_body_when_anything_comes_then_it_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """The relay's control API refuses a body that is not what it should be, and nothing else happens."""
    read, sample = BODIES[name]
    raw = data.draw(messages_like([json.dumps(sample).encode()]))
    only_refuses(lambda: read(object_from_json(raw)), Malformed)


@given(st.text(max_size=40))
@patient
def test_session_in_a_path_when_it_is_anything_then_it_is_one_or_refused(text: str) -> None:
    """What stands in a path is a session's id or refused."""
    only_refuses(lambda: session_id(text), Malformed)


def example(name: str) -> dict[str, Any]:
    return tomli.loads((EXAMPLES / name).read_text(encoding="utf-8"))


CONFIGS: Final[Mapping[str, Callable[[dict[str, Any]], object]]] = {
    "agent.toml": lambda document: agent_config(document, "agent.toml"),
    "runner.toml": lambda document: runner_config(document, Path("runner.toml")),
    "relay.toml": relay_config,
    "console.toml": lambda document: console_config(Path("console.toml"), document),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_when_any_key_holds_something_else_then_its_faults_are_told(name: str) -> None:
    """Each key of the example in turn."""
    read = CONFIGS[name]
    for document in each_otherwise(example(name)):
        only_refuses(partial(read, document), AgentFault, RunnerFault, RelayFault, ConsoleFault)


@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data())
@patient
def test_config_when_keys_are_anything_then_its_faults_are_told(name: str, data: st.DataObject) -> None:
    """A file that is TOML and says anything at all is taken or its faults are reported, never a traceback."""
    document = data.draw(documents_like([example(name)]))
    only_refuses(lambda: CONFIGS[name](document), AgentFault, RunnerFault, RelayFault, ConsoleFault)


@given(documents_like([example("relay.toml")]))
@patient
def test_relay_config_when_it_was_taken_then_it_is_written_and_read_as_the_same(document: dict[str, Any]) -> None:
    """What ``install`` writes is what was meant."""
    try:
        config = relay_config(document)
    except RelayFault:
        return
    assert config_from_text(text_from_config(config)) == config


@given(
    st.lists(messages_like([*raw_of("orders"), *raw_of("receipts")]), min_size=1, max_size=5),
    st.sampled_from(["order", "receipt"]),
)
@patient
def test_agent_when_anything_comes_from_the_broker_then_it_obeys_the_next_good_order(
    messages: list[bytes], leaf: str
) -> None:
    """Nothing that a broker can say opens a door, and a good order afterwards does."""
    world = World()
    for raw in messages:
        world.deliver(raw, leaf)
    assert world.state == "SHUT"
    world.deliver(world.order(world.body()))
    assert world.state == "OPEN"


WORLD: Final = World()
ASKED_FOR: Final[Mapping[str, Body]] = {
    "open": WORLD.body(), "shut": ShutDoor(None), "command": WORLD.command(), "rehearse": WORLD.command(verb="rehearse"),
    "settings": ApplySettings({"address": "new"}), "confirm": ConfirmSettings(Revision(0, 1), digest_of(b"settings")),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED_FOR)
def test_agent_when_any_place_of_an_order_for_it_holds_something_else_then_it_obeys_the_next(name: str) -> None:
    """Signed, for this device, fresh and new: what is refused is refused for what it says, and what is obeyed does no harm."""
    world = World()
    for body in each_otherwise(json.loads(text_from_body(ASKED_FOR[name]))):
        good = json.loads(decode(world.order(ASKED_FOR[name]), expected="order").payload)
        world.deliver(world.grant.seal("order", json.dumps({**good, "body": json.dumps(body)}).encode()))
    world.deliver(world.order(ShutDoor(None)))
    assert world.state == "SHUT"
    world.deliver(world.order(world.body(9)))
    assert world.state == "OPEN"


@given(messages_like(payloads_of("orders")))
@patient
def test_agent_when_the_console_itself_signs_nonsense_then_it_refuses_and_obeys_the_next(payload: bytes) -> None:
    """A signature makes no payload readable: a console with a fault in it does not end an agent."""
    world = World()
    world.deliver(world.grant.seal("order", payload))
    assert world.state == "SHUT"
    world.deliver(world.order(world.body()))
    assert world.state == "OPEN"
