"""The worker hears anything that a broker lets through, and anything that a pinned key signs: it goes on, and the history stays whole."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.edges.relay_client import Page, RelayAway, RelayRefused, _document, _paired, _read
from doorward_console.fleet.joining import JoinRefused, request_from_json
from doorward_console.history.models import Chain
from doorward_console.history.own import head_of
from doorward_console.history.queries import PAGE
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.worker import hearing
from doorward_protocol.asks import CommandReport, DoorReport, SettingsReport
from doorward_protocol.audit import VERBS
from doorward_protocol.digests import Digest
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, SessionId
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload, record_from_payload
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import SigningKey
from doorward_protocol.targets import Offered
from hypothesis import given
from hypothesis import strategies as st

from tests.console.conftest import ED25519_LINE, House
from tests.console.visiting import open_session, reboot_of
from tests.fuzz.shapes import (
    NASTY,
    VECTORS,
    documents_like,
    each_otherwise,
    messages_like,
    messages_otherwise,
    only_refuses,
    patient,
)
from tests.worlds.scripted_device import ScriptedDevice

SAMPLES = [one["raw"].encode() for kind in ("asks", "records") for one in VECTORS[kind]]


@pytest.mark.feature("E9")
@pytest.mark.timeout(3600)
def test_worker_when_anything_comes_from_a_device_then_it_goes_on_and_stores_what_is_good(house: House) -> None:
    """Whatever came before, on whichever topic, the device's next good record joins its chain."""
    device = ScriptedDevice(DeviceId(house.device.pk))
    author = f"device:{device.device}"
    Chain.objects.create(project=house.project, author=author, public_key=device.key.public)
    keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
    ensure_worker_keys(house.project, keys.wrapping)
    own = SAMPLES[0].replace(b"d-cfduyrwmysulqlu7", device.device.encode())
    joined = 0

    @given(st.lists(messages_like([*SAMPLES, own]), max_size=4))
    @patient
    def hear(messages: list[bytes]) -> None:
        nonlocal joined
        now = timezone.now()
        for raw in messages:
            hearing.hear_asks({device.device: [raw]}, now)
            hearing.hear_presence(device.device, raw, now)
        hearing.hear_records(author, [*messages, device.record("agent.started")], keys, lambda _: None, now)
        joined += 1
        chain = Chain.objects.get(author=author)
        assert (chain.n, chain.broken) == (joined, "")

    hear()


def rich_ask(device: ScriptedDevice) -> dict[str, Any]:
    """Give an ask that says everything that one can say."""
    digest = Digest("sha256:" + "0" * 64)
    found: dict[str, Any] = json.loads(
        device.ask_bytes(
            door=DoorReport("OPEN", SessionId("s-aaaaaaaaaaaaaaaa"), Revision(0, 1), digest, "tunnel.lost"),
            settings=SettingsReport(Revision(0, 1), digest, {"address": "new"}, "trying", None, "confirm"),
            journal=Head(0, 1, digest), command=CommandReport(Revision(0, 1), digest), verbs=("reboot", "settings-read"),
            wish="rehearse", forwards=(Offered("database", "127.0.0.1:5432"),), knows_hooks=False,
        )
    )  # fmt: skip
    return found


@pytest.mark.feature("E9")
def test_worker_when_any_place_of_an_ask_holds_something_else_then_it_goes_on_and_hears_the_next(house: House) -> None:
    """Each place in turn, each newer than the one before: an older one would not be looked at."""
    device = ScriptedDevice(DeviceId(house.device.pk))
    usual = rich_ask(device)
    for odd in each_otherwise(usual):
        device.count += 1
        newer = {"count": device.count} if odd.get("count") == usual["count"] else {}
        hearing.hear_asks({device.device: [json.dumps({**odd, **newer}).encode()]}, timezone.now())
    hearing.hear_asks({device.device: [device.ask_bytes(nonce="z" * 22)]}, timezone.now())
    house.device.refresh_from_db()
    assert (house.device.nonce, house.device.ask_count) == ("z" * 22, device.count)


SAID: Final[dict[str, Any]] = {
    "part": "door", "state": "shut", "code": "order.lower-revision", "epoch": 0, "revision": 1, "offered_epoch": 0,
    "offered_revision": 1, "held_epoch": 0, "held_revision": 9, "order": "o-aaaaaaaaaaaaaaaa", "upto": 1, "digest": None,
    "command": "c-aaaaaaaaaaaaaaaa", "verb": "reboot", "arguments": {"text": "hello"}, "status": 0, "said": "",
    "result": {"values": {}, "schema": {}}, "lasted_ms": 1, "why": "session.expired", "name": "database", "relay_code": "",
    "address": "127.0.0.1:5432", "by": "aiko@example.com", "already": "", "count": 1, "was": "", "batch": "b", "times": 1,
    "port": 1, "paths": ["/etc"], "forwards": [{"name": "database"}], "door": "sshd", "bind": "*", "peer": "::1",
}  # fmt: skip
"""What records of devices and relays say, all in one."""
ODD: Final[tuple[Any, ...]] = ([], "\\1", 2**70)


@dataclass
class Author:
    """A device or relay in somebody's hands: the console has pinned its key, and it signs whatever it is told to."""

    name: str
    key: SigningKey = field(default_factory=SigningKey.generate)
    head: Head = field(default_factory=Head)

    def signs(self, verb: str, session: str | None, data: dict[str, Any]) -> bytes:
        """Continue the chain; what is no record at all, or too long for one, is signed, too, and continues nothing."""
        document = json.loads(next_payload(self.name, self.head, Moment(1), Fact(verb, session), {}))
        payload = json.dumps({**document, "data": data}).encode()
        signed = self.key.seal("record", payload)
        with suppress(Malformed, NotAnEnvelope):
            record_from_payload(decode(signed, expected="record").payload)
            self.head = head_after(payload, self.head)
        return signed


class Worker:
    """Hears one author as the worker does, and sees that all of it joins his chain."""

    def __init__(self, house: House, kind: str) -> None:
        """Pin the author's key."""
        self.kind, self.pk = kind, house.device.pk if kind == "device" else house.relay.pk
        self.author = Author(f"{kind}:{self.pk}")
        Chain.objects.create(project=house.project, author=self.author.name, public_key=self.author.key.public)
        self.keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
        ensure_worker_keys(house.project, self.keys.wrapping)

    def hears(self, facts: Sequence[tuple[str, str | None, dict[str, Any]]]) -> None:
        """Let the author sign these, each a verb, a session and data, after what is stored of him."""
        now, author = timezone.now(), self.author
        author.head = head_of(Chain.objects.get(author=author.name))
        said = [author.signs(*fact) for fact in facts]
        if self.kind == "device":
            hearing.hear_devices({self.pk: said}, self.keys, lambda _: lambda _: True, now)
        else:
            hearing.hear_page(self.pk, Page(tuple(said), author.head, (), 1), self.keys, lambda _: True, now)
        chain = Chain.objects.get(author=author.name)
        assert (chain.n, chain.broken) == (author.head.n, "")


def see_history(house: House, page: int) -> tuple[int, int]:
    """Give the status of a page of the history, for people and for programs."""
    people = Client(raise_request_exception=False)
    people.force_login(house.owner)
    asked: dict[str, str | int] = {"action": "all", "page": page}
    return (
        people.get(f"/projects/{house.project.pk}/history/", asked, secure=True).status_code,
        people.get(f"/api/v1/projects/{house.project.pk}/history", asked, secure=True).status_code,
    )


def sessions_of(house: House) -> tuple[str | None, str]:
    """Name none, and one that is open and has a forward."""
    database = {"name": "database", "target": "127.0.0.1:5432", "bind": "*", "port": 22002, "state": "", "code": None}
    return None, open_session(house, forwards=[{**database, "address": None, "at": None}]).pk


@pytest.mark.feature("E9")
@pytest.mark.parametrize("kind", ["device", "relay"])
def test_worker_when_a_pinned_key_signs_a_word_of_another_kind_then_it_goes_on_and_people_can_read_it(
    house: House, kind: str
) -> None:
    """A device or a relay in somebody's hands ends no worker and hides no history: each word of each of its verbs in turn."""
    worker, command, sessions = Worker(house, kind), reboot_of(house), sessions_of(house)
    type(command).objects.update(state="ordered")
    usual = {**SAID, "command": command.pk}
    for verb in (one.name for one in VERBS.values() if one.by == kind):
        for session, part in zip(sessions, ("command", "door"), strict=True):
            odd = [{**usual, "part": part, name: one} for name in SAID for one in ODD]
            worker.hears([(verb, session, data) for data in odd])
    for page in range(worker.author.head.n // PAGE + 1):
        assert see_history(house, page + 1) == (200, 200)


@pytest.mark.feature("E9")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["device", "relay"])
def test_worker_when_a_pinned_key_signs_anything_then_it_goes_on_and_stores_what_is_good(
    house: House, kind: str
) -> None:
    """What is no record is dropped, and what is one joins the chain, whatever it says."""
    worker, sessions = Worker(house, kind), sessions_of(house)
    verbs = [one.name for one in VERBS.values() if one.by == kind]

    facts_like = st.tuples(st.sampled_from(verbs), st.sampled_from(sessions), documents_like([SAID]))

    @given(st.lists(facts_like, max_size=8))
    @patient
    def hear(facts: list[tuple[str, str | None, dict[str, Any]]]) -> None:
        worker.hears(facts)

    hear()


REQUEST = json.dumps(
    {"v": 1, "token": "a" * 26, "identity": SigningKey.generate().public, "tunnel_key": ED25519_LINE, "door_host_key": None,
     "mqtt_csr": "-----BEGIN CERTIFICATE REQUEST-----", "agent": "0.1.0", "facts": {"hostname": "press"}}
).encode()  # fmt: skip


@pytest.mark.feature("E9")
def test_join_request_when_any_place_of_it_holds_something_else_then_it_is_read_or_refused() -> None:
    """Each place in turn."""
    for raw in messages_otherwise([REQUEST]):
        only_refuses(partial(request_from_json, raw), JoinRefused)


@pytest.mark.feature("E9")
@given(messages_like([REQUEST]) | st.sampled_from(NASTY))
@patient
def test_join_request_when_it_is_anything_then_it_is_read_or_refused(raw: bytes) -> None:
    """Anybody may send one: there is no session and no cookie before the token."""
    only_refuses(lambda: request_from_json(raw), JoinRefused)


PAIRED = json.dumps(
    {"record_key": "a" * 44, "version": "0.1.0", "ssh_host_keys": [ED25519_LINE], "ssh_port": 2222, "tunnel_user": "t",
     "ports": [1024, 65_535], "clock_at": 1, "kind": "managed"}
).encode()  # fmt: skip


def read_paired(status: int, raw: bytes) -> None:
    with _read():
        _paired(_document(status, raw))


@pytest.mark.feature("E9")
@pytest.mark.parametrize("status", [200, 409])
def test_relays_answer_when_any_place_of_it_holds_something_else_then_the_worker_reads_it_or_calls_the_relay_away(
    status: int,
) -> None:
    """Each place in turn, of a yes and of a no."""
    for raw in messages_otherwise([PAIRED, b'{"code": "relay.bad-token"}']):
        only_refuses(partial(read_paired, status, raw), RelayAway, RelayRefused)


@pytest.mark.feature("E9")
@pytest.mark.parametrize("status", [200, 409, 500])
@given(raw=messages_like([PAIRED]) | st.sampled_from(NASTY))
@patient
def test_relays_answer_when_it_is_anything_then_the_worker_reads_it_or_calls_the_relay_away(
    status: int, raw: bytes
) -> None:
    """A relay in somebody's hands can cut itself off, and nothing more."""
    only_refuses(partial(read_paired, status, raw), RelayAway, RelayRefused)
