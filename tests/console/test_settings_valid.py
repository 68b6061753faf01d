"""Settings that are not valid: every fault at once by its place, whatever the device maker's schema is like; and two who ask at once (I15)."""

import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.edges import schema_check
from doorward_console.edges.schema_check import NotJudged, judged
from doorward_console.fleet.models import SettingsRead
from doorward_console.history.models import Pending
from doorward_console.history.sentences import details_of
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.documents.asking import Change, ask
from doorward_console.maintenance.documents.faults import Unusable
from doorward_console.maintenance.documents.judging import MOST_FAULTS, check, faults_of
from doorward_console.maintenance.documents.paths import Difference, differences, leaves
from doorward_console.maintenance.documents.wanted import wanted_of
from doorward_console.maintenance.models import Intent

from tests.console.commanding import signer_at_work, who_of
from tests.console.conftest import House
from tests.console.test_api import call, token_of

pytestmark = [pytest.mark.feature("I15")]

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["hostname"],
    "properties": {
        "hostname": {"type": "string", "pattern": "^[a-z0-9-]+$", "maxLength": 20},
        "level": {"enum": ["debug", "info"]},
        "network": {
            "type": "object",
            "additionalProperties": False,
            "required": ["method"],
            "properties": {
                "method": {"enum": ["dhcp", "static"]},
                "address": {"type": "string", "format": "ipv4"},
                "dns": {"type": "array", "maxItems": 2, "items": {"type": "string", "format": "ipv4"}},
                "mtu": {"type": "integer", "minimum": 576, "maximum": 9000},
                "key": {"type": "string", "minLength": 8, "writeOnly": True},
            },
        },
    },
}
GOOD = {"hostname": "pump-7", "network": {"method": "dhcp"}}


@pytest.fixture
def said(house: House) -> House:
    """A house whose device has said how it is set and what may be set."""
    SettingsRead.objects.create(device=house.device, values=GOOD, schema=SCHEMA, read_at=timezone.now())
    return house


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        (GOOD, []),
        ({}, [("/hostname", "is missing")]),
        ({"hostname": "Ümlaut"}, [("/hostname", "has to fit the pattern ^[a-z0-9-]+$")]),
        ({"hostname": 7, "level": "loud"}, [("/hostname", "has to be text"), ("/level", 'has to be one of "debug", "info"')]),
        ({"hostname": "a", "colour": 1, "x/y": 2}, [("/colour", "is nothing that this device knows"), ("/x~1y", "is nothing that this device knows")]),
        (
            {"hostname": "a", "network": {"address": "none", "dns": ["1.1.1.1", "x"], "mtu": 12}},
            [
                ("/network/address", "has to be of the form ipv4"),
                ("/network/dns/1", "has to be of the form ipv4"),
                ("/network/method", "is missing"),
                ("/network/mtu", "has to be at least 576"),
            ],
        ),
        ({"hostname": "a", "network": {"method": "dhcp", "key": "hunter2"}}, [("/network/key", "has to have at least 8 characters")]),
        ({"hostname": "a", "network": {"method": "dhcp", "key": {"$sealed": "…"}}}, []),
        ({"hostname": "a", "network": {"method": "dhcp", "key": {"$secret": "set"}}}, []),
    ],
)  # fmt: skip
def test_document_when_judged_then_every_fault_is_named_by_its_place(
    values: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    """All at once, in words, and no value is repeated: it may be a secret."""
    found = faults_of(SCHEMA, values)
    assert [tuple(one) for one in found] == faults
    assert "hunter2" not in repr(found)


def test_document_when_it_has_thousands_of_faults_then_a_hundred_are_named() -> None:
    """An answer stays an answer."""
    schema = {"additionalProperties": {"type": "string"}}
    assert len(faults_of(schema, {f"n{n}": n for n in range(3_000)})) == MOST_FAULTS


def deep(depth: int) -> dict[str, Any]:
    return {"properties": {"a": deep(depth - 1)}} if depth else {}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}, "leads outside"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "leads outside"),
        ({"$defs": {"a": {"$dynamicRef": "other.json#a"}}}, "leads outside"),
        ({"properties": {"a": {"$id": "http://127.0.0.1:9/", "$ref": "#b"}}}, "$id of its own"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "not of draft 2020-12"),
        ({"type": "strin"}, "no JSON Schema: /type"),
        ({"properties": {"a": {"pattern": "("}}}, "no JSON Schema"),
        ({"description": "x" * 40_000}, "longer than 32768 bytes"),
        (deep(40), "nested deeper than 32"),
    ],
)  # fmt: skip
def test_schema_when_it_cannot_be_used_then_it_is_said_why(schema: dict[str, Any], says: str) -> None:
    """Nothing is fetched, nothing is guessed."""
    with pytest.raises(Unusable) as why:
        check(schema)
    assert says in str(why.value)


DOUBLING: dict[str, Any] = {
    "$ref": "#/$defs/a0",
    "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)} | {"a30": {}},
}
CIRCLE = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
ENDLESS = {"properties": {"hostname": {"pattern": "^(a+)+$"}}}


@pytest.mark.parametrize("schema", [ENDLESS, DOUBLING, CIRCLE], ids=["pattern", "doubling", "circle"])
def test_schema_when_it_would_take_for_ever_then_it_is_ended_and_said(schema: dict[str, Any]) -> None:
    """A pattern that tries everything, references that double, references in a circle: no web process hangs."""
    started = time.monotonic()
    with pytest.raises(NotJudged, match="takes too long"):
        judged(schema, {"hostname": "a" * 60 + "!"})
    assert time.monotonic() - started < schema_check.PATIENCE_S + 20


def test_schema_when_nobody_waits_for_its_process_any_more_then_that_ends_by_itself() -> None:
    """A web process that is ended in the middle leaves nothing behind that takes a whole processor for ever: the kernel ends it."""
    asked = json.dumps({"schema": ENDLESS, "values": {"hostname": "a" * 60 + "!"}})
    command = [sys.executable, "-I", "-m", schema_check.__name__]
    done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=90, check=False)
    assert -done.returncode in {signal.SIGXCPU, signal.SIGKILL}
    assert done.stdout == b""


def test_document_when_judged_in_its_own_process_then_the_faults_are_the_same() -> None:
    """What the edge gives is what the judge said."""
    values = {"hostname": 7, "network": {}}
    assert judged(SCHEMA, values) == faults_of(SCHEMA, values)


@pytest.mark.django_db
def test_settings_when_not_valid_then_the_api_refuses_with_every_fault_and_nothing_is_asked(said: House) -> None:
    """A stable code, and a path for each fault."""
    path = f"/devices/{said.device.pk}/settings"
    answer = call(
        token_of(said.owner),
        "PUT",
        path,
        {"values": {"level": "loud", "network": {"method": "dhcp", "key": "hunter2"}}},
    )
    found = answer.json()
    assert (answer.status_code, found["code"]) == (409, "settings.not-valid")
    assert [one["path"] for one in found["faults"]] == ["/hostname", "/level", "/network/key"]
    assert all(one["path"] in found["message"] for one in found["faults"])
    assert "hunter2" not in answer.content.decode()
    assert not Intent.objects.exists()


@pytest.mark.django_db
def test_settings_when_the_schema_cannot_be_used_then_refused_and_the_makers_move(said: House) -> None:
    """Nothing passes unjudged where the device maker wanted it judged."""
    SettingsRead.objects.update(schema={"type": "strin"})
    with pytest.raises(NotAsked) as refused:
        ask(said.device, Change(GOOD), who_of(said))
    assert refused.value.code == "settings.not-judged"
    SettingsRead.objects.update(schema=None)
    assert ask(said.device, Change({"anything": 1}), who_of(said)).state == Intent.State.ASKED


@pytest.mark.django_db
def test_settings_when_asked_for_then_the_history_says_who_and_which_places(said: House) -> None:
    """First against what the device said, then against what was wanted; never what stands there."""
    ask(said.device, Change({"hostname": "pump-8", "network": {"method": "dhcp", "dns": ["1.1.1.1"]}}), who_of(said))
    ask(said.device, Change({"hostname": "pump-8", "network": {"method": "static"}}), who_of(said))
    rows = [one.data for one in Pending.objects.filter(verb="settings.asked").order_by("pk")]
    assert [row["paths"] for row in rows] == [["/hostname", "/network/dns"], ["/network/dns", "/network/method"]]
    assert {row["by"] for row in rows} == {said.owner.email}
    assert details_of(rows[0]) == "/hostname, /network/dns"
    assert "pump-8" not in json.dumps(rows)


@pytest.mark.django_db
def test_settings_when_two_began_with_the_same_then_the_second_is_told_and_nothing_is_lost(said: House) -> None:
    """The mark of what was seen decides, also over the API; who gives none asks whatever stands there."""
    seen = wanted_of(said.device).mark
    ask(said.device, Change({"hostname": "first"}, seen), who_of(said))
    with pytest.raises(NotAsked) as refused:
        ask(said.device, Change({"hostname": "second"}, seen), who_of(said))
    assert refused.value.code == "settings.changed-meanwhile"
    assert wanted_of(said.device).values == {"hostname": "first"}
    path, token = f"/devices/{said.device.pk}/settings", token_of(said.owner)
    assert call(token, "PUT", path, {"values": GOOD, "based_on": seen}).status_code == 409
    mark = call(token, "GET", path).json()["mark"]
    assert call(token, "PUT", path, {"values": GOOD, "based_on": mark}).status_code == 202


@pytest.mark.django_db
def test_settings_when_the_signer_decided_meanwhile_then_that_is_nobody_elses_change(said: House) -> None:
    """The mark that an answer gave is good until somebody asks for something else, signed or refused meanwhile."""
    path, token = f"/devices/{said.device.pk}/settings", token_of(said.owner)
    given = call(token, "PUT", path, {"values": GOOD}).json()["mark"]
    signer_at_work(said)
    assert call(token, "GET", path).json()["mark"] == given
    other = {"hostname": "pump-9"}
    assert call(token, "PUT", path, {"values": other, "based_on": given}).status_code == 202
    assert call(token, "PUT", path, {"values": GOOD, "based_on": given}).json()["code"] == "settings.changed-meanwhile"
    signer_at_work(said)
    assert call(token, "PUT", path, {"values": GOOD, "based_on": given}).json()["code"] == "settings.changed-meanwhile"


def test_documents_when_compared_then_each_place_that_differs_is_named_once() -> None:
    """Objects are gone through, lists and what stands for a secret are one; true is not 1."""
    before = {"a": {"b": 1, "c": [1, 2]}, "d": True, "e": {}, "s": {"$sealed": "x"}, "x/y": 0}
    after = {"a": {"b": 1, "c": [1, 3]}, "d": 1, "f": None, "s": {"$sealed": "y"}, "x/y": 0}
    assert differences(before, after) == (
        Difference("/a/c", [1, 2], [1, 3]),
        Difference("/d", True, 1),
        Difference("/e", {}, None),
        Difference("/f", None, None),
        Difference("/s", {"$sealed": "x"}, {"$sealed": "y"}),
    )
    assert differences(before, before) == ()
    assert "/x~1y" in leaves(before)
