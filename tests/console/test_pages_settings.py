"""A device's settings in the pages: form and JSON, what changes before and after, faults at their places, two people at once (I15)."""

import html
import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.maintenance.documents.asking import Change, ask
from doorward_console.maintenance.documents.forms import document_from, fields_of
from doorward_console.maintenance.documents.wanted import wanted_of
from doorward_console.maintenance.models import Command, Desired, Intent
from doorward_protocol.commands import READ_SETTINGS

from tests.console.commanding import can_all, signer_at_work, who_of
from tests.console.conftest import House
from tests.console.test_settings_valid import GOOD, SCHEMA
from tests.console.visiting import address, client_of

pytestmark = [pytest.mark.feature("I15"), pytest.mark.django_db]

FORM = {
    "/hostname": "pump-7",
    "/level": "",
    "/network/method": '"dhcp"',
    "/network/address": "",
    "/network/dns": "",
    "/network/mtu": "",
}


@pytest.fixture
def said(house: House) -> House:
    """A house whose device has said how it is set and what may be set."""
    can_all(house, verbs=[READ_SETTINGS])
    SettingsRead.objects.create(device=house.device, values=GOOD, schema=SCHEMA, read_at=timezone.now())
    return house


def visit(house: House, **typed: Any) -> Any:
    """Look at the page, or send what was typed."""
    client, path = client_of(house.owner), address("device-settings", house)
    if not typed:
        return client.get(path, secure=True)
    return client.post(path, {"mark": wanted_of(house.device).mark, **typed}, secure=True)


def hidden(answer: Any, name: str) -> str:
    """Give what travels with a page unseen."""
    found = re.search(f'name="{name}" value="([^"]*)"', answer.content.decode())
    assert found is not None
    return html.unescape(found[1])


def test_form_when_made_from_a_schema_then_it_has_a_field_for_each_and_names_what_it_cannot_hold() -> None:
    """Text, number, choice, list of texts, object; a secret, or whatever else, is left to JSON."""
    found = fields_of(SCHEMA, {"hostname": "a", "network": {"mtu": 1500, "dns": ["1.1.1.1", "8.8.8.8"]}})
    assert [(one.path, one.kind, one.value) for one in found] == [
        ("/hostname", "text", "a"), ("/level", "choice", ""), ("/network", "object", ""), ("/network/method", "choice", ""),
        ("/network/address", "text", ""), ("/network/dns", "texts", "1.1.1.1\n8.8.8.8"), ("/network/mtu", "number", "1500"),
        ("/network/key", "secret", ""),
    ]  # fmt: skip
    odd = {
        "a": {"oneOf": []},
        "b": {"type": ["string", "null"]},
        "c": {"type": "array", "items": {"type": "integer"}},
        "d": True,
    }
    assert [one.kind for one in fields_of({"properties": odd}, {})] == ["other"] * 3


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        (FORM, GOOD),
        (FORM | {"/hostname": ""}, {"network": {"method": "dhcp"}}),
        (FORM | {"/network/method": ""}, {"hostname": "pump-7"}),
        (FORM | {"/network/mtu": "1500", "/network/dns": " 1.1.1.1 \r\n\r\n8.8.8.8"}, {"hostname": "pump-7", "network": {"method": "dhcp", "dns": ["1.1.1.1", "8.8.8.8"], "mtu": 1500}}),
        (FORM | {"/network/mtu": "much"}, {"hostname": "pump-7", "network": {"method": "dhcp", "mtu": "much"}}),
    ],
)  # fmt: skip
def test_document_when_typed_into_the_form_then_it_is_as_typed(typed: dict[str, str], made: dict[str, Any]) -> None:
    """What was emptied is gone, what is no number stays text for the schema to refuse."""
    assert document_from(SCHEMA, typed, GOOD) == made


def test_document_when_the_form_does_not_hold_a_part_then_that_stays() -> None:
    """A secret and a name of no schema are not lost by saving the form."""
    base = {"hostname": "a", "extra": [1], "network": {"method": "dhcp", "key": {"$sealed": "x"}}}
    assert document_from(SCHEMA, FORM, base) == {**base, "hostname": "pump-7"}


def test_form_when_sent_then_the_page_shows_what_changes_and_asks_nothing_yet(said: House) -> None:
    """Before it is asked: place, what is wanted now, what would be then. The second step asks."""
    shown = visit(said, step="show", **(FORM | {"/hostname": "pump-8", "/network/mtu": "1500"}))
    text = shown.content.decode()
    assert (shown.status_code, Intent.objects.count()) == (200, 0)
    assert re.findall("<code>(/[^<]*)</code>", text) == ["/hostname", "/network/mtu"]
    assert "pump-7" in text
    asked = visit(said, step="ask", values=hidden(shown, "values"), mark=hidden(shown, "mark"))
    assert asked.status_code == 302
    assert Intent.objects.get().values == {"hostname": "pump-8", "network": {"method": "dhcp", "mtu": 1500}}
    back = visit(said, step="back", values=hidden(shown, "values"), mark=hidden(shown, "mark"))
    assert 'value="pump-8"' in back.content.decode()


def test_form_when_not_valid_then_each_fault_stands_at_its_field_with_what_was_typed(said: House) -> None:
    """Nothing that was typed is lost, and nothing is asked."""
    answer = visit(said, step="show", **(FORM | {"/hostname": "Ü", "/network/mtu": "much"}))
    text = answer.content.decode()
    assert answer.status_code == 409
    assert text.count('aria-invalid="true"') == 2
    assert 'value="Ü"' in text
    assert 'value="much"' in text
    assert "This has to be a whole number." in text
    assert visit(said, step="ask", values='{"hostname": 7}').status_code == 409
    assert not Intent.objects.exists()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (" ", "line 1, column 2: expecting value"),
        ('{"a": 1,\n "secret-word" }', "line 2, column 16: expecting"),
        ("[]", "it has to begin with {"),
        ('{"a": NaN}', "a number or a letter is none"),
        ('{"a": 1, "a": 2}', "a name stands twice in it"),
        ("[" * 100_000, "it is nested too deep"),
        ("x" * 200_000, "it is longer than 100000 characters"),
    ],
    ids=["empty", "colon", "list", "number", "twice", "deep", "long"],
)
def test_json_when_it_is_no_object_then_said_where_and_with_what_was_typed(said: House, raw: str, why: str) -> None:
    """A typing error is mended, not typed again; the sentence names its place and never what stands there."""
    answer = visit(said, step="show", values=raw)
    text = html.unescape(answer.content.decode())
    assert answer.status_code == 400
    (problem,) = re.findall(r'role="alert">(This is not one JSON object: [^<]*)<', text)
    assert why in problem
    assert "Mend it there" in problem
    assert "secret-word" not in problem
    assert raw in text


def test_form_when_somebody_else_asked_meanwhile_then_the_conflict_is_shown_and_nothing_is_lost(said: House) -> None:
    """Theirs stays wanted, mine is shown beside it, and asking for mine knowingly is one more click."""
    mark = wanted_of(said.device).mark
    ask(said.device, Change({"hostname": "theirs"}), who_of(said))
    answer = visit(said, step="ask", values='{"hostname": "mine"}', mark=mark)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody else asked for other settings since you began" in text
    assert "theirs" in text
    assert json.loads(hidden(answer, "values")) == {"hostname": "mine"}
    assert wanted_of(said.device).values == {"hostname": "theirs"}
    visit(said, step="ask", values=hidden(answer, "values"), mark=hidden(answer, "mark"))
    assert wanted_of(said.device).values == {"hostname": "mine"}


def test_page_when_the_device_has_said_then_wanted_and_reported_stand_side_by_side(said: House) -> None:
    """After it was asked for: what the device says since, place by place, and how the trial went."""
    ask(said.device, Change({"hostname": "pump-8", "level": "info", "network": {"method": "dhcp"}}), who_of(said))
    signer_at_work(said)
    wanted = Desired.objects.get(device=said.device, part="settings")
    Device.objects.update(
        settings_digest=wanted.digest, settings_state="reverted", settings_code="settings.unconfirmed"
    )
    rows = re.findall(r"<tr>(.*?)</tr>", visit(said).content.decode(), re.DOTALL)[1:]
    words = [re.sub("<[^>]*>", " ", row).split() for row in rows]
    assert words == [
        ["/hostname", "pump-8", "pump-7"],
        ["/level", "info", "nothing", "about", "it"],
        ["/network/method", "dhcp", "the", "same"],
    ]
    text = visit(said).content.decode()
    assert "Put back" in text
    assert "settings.unconfirmed" in text
    assert said.owner.email in text


def test_page_when_the_schema_is_hostile_then_it_is_only_text(said: House) -> None:
    """A device maker's titles and choices are a stranger's words."""
    evil = "<script>alert(1)</script>"
    SettingsRead.objects.update(
        schema={
            "title": evil,
            "properties": {evil: {"type": "string", "title": evil, "description": evil, "examples": [evil]}},
        },
        values={evil: evil},
    )
    assert evil not in visit(said).content.decode()


def test_button_when_pressed_then_the_device_is_asked_how_it_is_set(said: House) -> None:
    """Device to console: a command like any other."""
    client: Client = client_of(said.owner)
    assert 'id="read-settings"' in visit(said).content.decode()
    assert client.post(address("device-settings-read", said), secure=True).status_code == 302
    assert Command.objects.get(verb=READ_SETTINGS).state == Command.State.ASKED
