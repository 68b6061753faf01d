"""The licence policy (E7): who may not be turned on, said by web and API at once and by the signer again."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from doorward_console.fleet.licences import (
    Licence,
    LicenceRefused,
    is_older,
    is_version,
    licence_from_bytes,
    seal_licence,
)
from doorward_console.fleet.models import Device
from doorward_console.fleet.models import Licence as Row
from doorward_console.history.models import Pending
from doorward_console.keys.making import ensure_signer_keys
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.asking import extend, turn_on
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Intent, Session
from doorward_console.maintenance.signing import Signer, decide
from doorward_protocol.reasons import REASONS
from doorward_protocol.signature import KeyRing, SigningKey

from tests.console.conftest import House, make_house
from tests.console.test_api import call, token_of
from tests.console.test_signing import HERE, new_signer
from tests.console.visiting import address, ask, client_of, open_session

ISSUER = SigningKey.generate()
SOMEBODY = SigningKey.generate()
TOMORROW = datetime.now(timezone.utc) + timedelta(days=1)
YESTERDAY = TOMORROW - timedelta(days=2)

pytestmark = pytest.mark.feature("E7")


@pytest.fixture
def house(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project that requires licences, in a console that knows one issuer."""
    cache.clear()
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, licence_issuers=(ISSUER.public,)))
    made = make_house()
    made.project.licence_policy = "required"
    made.project.save()
    made.device.agent_version = "0.10.0"
    made.device.save()
    return made


@pytest.fixture
def signer(house: House) -> Signer:
    """A signer that knows the same issuer."""
    made = replace(new_signer(), issuers=(ISSUER.public,))
    ensure_signer_keys(house.project, made.keys.wrapping)
    return made


def licence_of(house: House, issuer: SigningKey = ISSUER, **changes: Any) -> bytes:
    """Sign a licence for the house's device."""
    return seal_licence(issuer, Licence(**({"device": house.device.id, "valid_until": TOMORROW} | changes)))


def keep(house: House, raw: bytes) -> None:
    """Put a licence into the database as a web process without scruples would."""
    Row.objects.create(device=house.device, envelope=raw, valid_until=TOMORROW)


def decided(signer: Signer, asked: Intent | Session) -> Intent:
    """Let the signer decide what was asked for."""
    assert isinstance(asked, Intent)
    decide(signer, asked.id)
    asked.refresh_from_db()
    return asked


def missing(_: House) -> None:
    Row.objects.all().delete()


def expired(house: House) -> None:
    Row.objects.update(envelope=licence_of(house, valid_until=YESTERDAY))


def other_device(house: House) -> None:
    Row.objects.update(envelope=licence_of(house, device="d-aaaaaaaaaaaaaaaa"))


def other_issuer(house: House) -> None:
    Row.objects.update(envelope=licence_of(house, SOMEBODY))


def tampered(house: House) -> None:
    """Move the end by a year and leave the signature."""
    document = json.loads(licence_of(house))
    later = json.loads(licence_of(house, SOMEBODY, valid_until=TOMORROW + timedelta(days=365)))
    Row.objects.update(envelope=json.dumps(document | {"payload": later["payload"]}).encode())


def rubbish(_: House) -> None:
    Row.objects.update(envelope=b"a licence, honestly")


def an_order(house: House) -> None:
    """Something else that the issuer signed is not a licence."""
    Row.objects.update(envelope=ISSUER.seal("order", json.dumps({"device": house.device.id}).encode()))


def agent_too_old_for_the_project(house: House) -> None:
    house.project.least_agent = "0.11"
    house.project.save()


def agent_too_old_for_the_licence(house: House) -> None:
    Row.objects.update(envelope=licence_of(house, least_agent="0.10.1"))


def agent_unknown(house: House) -> None:
    house.project.least_agent = "0.1"
    house.project.save()
    Device.objects.update(agent_version="")
    house.device.agent_version = ""


CASES = [
    (missing, "licence.missing"),
    (expired, "licence.expired"),
    (other_device, "licence.other-device"),
    (other_issuer, "licence.unknown-issuer"),
    (tampered, "licence.bad-signature"),
    (rubbish, "licence.not-a-licence"),
    (an_order, "licence.not-a-licence"),
    (agent_too_old_for_the_project, "licence.agent-too-old"),
    (agent_too_old_for_the_licence, "licence.agent-too-old"),
    (agent_unknown, "licence.agent-too-old"),
]


@pytest.mark.parametrize(("spoil", "code"), CASES)
def test_on_without_what_the_policy_needs_then_web_says_so_and_the_signer_refuses_by_itself(
    house: House, signer: Signer, spoil: Any, code: str
) -> None:
    """The person hears the code at once; a web process that asks all the same is refused with the same code."""
    keep(house, licence_of(house))
    spoil(house)
    with pytest.raises(NotAsked) as refused:
        turn_on(house.device, house.owner, HERE, 600)
    assert refused.value.code == code
    assert not Intent.objects.exists()
    house.project.licence_policy = "none"  # in this process's memory: what web believes
    intent = decided(signer, turn_on(house.device, house.owner, HERE, 600))
    assert (intent.state, intent.code) == ("refused", code)
    assert code in REASONS


@pytest.mark.parametrize("least", ["", "0.9.0", "0.10", "0.10.0"])
def test_on_with_a_licence_and_an_agent_that_is_new_enough_then_it_opens(
    house: House, signer: Signer, least: str
) -> None:
    """A genuine licence of the device's own, not yet ended, and 0.10.0 counting as newer than 0.9.0."""
    house.project.least_agent = least
    house.project.save()
    keep(house, licence_of(house, valid_until=YESTERDAY))
    keep(house, licence_of(house, least_agent=least))
    keep(house, licence_of(house, SOMEBODY))
    keep(house, licence_of(house, device="d-aaaaaaaaaaaaaaaa", valid_until=TOMORROW + timedelta(days=9)))
    intent = decided(signer, turn_on(house.device, house.owner, HERE, 600))
    assert (intent.state, intent.code) == ("done", "")


def test_policy_none_then_nothing_is_needed_unless_the_signers_own_file_says_so(house: House, signer: Signer) -> None:
    """Without the policy a device opens without a licence; needs_licence in the ceilings counts for every project."""
    house.project.licence_policy = "none"
    house.project.save()
    strict = replace(signer, ceilings=Ceilings(needs_licence=True))
    intent = decided(strict, turn_on(house.device, house.owner, HERE, 600))
    assert intent.code == "licence.missing"
    assert decided(signer, turn_on(house.device, house.owner, HERE, 600)).state == "done"


def test_policy_that_begins_while_a_door_is_open_then_it_stays_until_its_end_and_is_not_made_longer(
    house: House, signer: Signer
) -> None:
    """A change of policy throws nobody out; the session ends when it was to end."""
    session = open_session(house)
    assert turn_on(house.device, house.owner, HERE, 600) == session
    intent = decided(signer, extend(house.device, house.owner, HERE, 600))
    assert (intent.state, intent.code) == ("refused", "licence.missing")
    assert Session.objects.get().state == "open"


def test_device_page_without_a_licence_then_the_toggle_is_off_and_says_what_is_missing(house: House) -> None:
    """The switch cannot be pressed, and names the reason and the next step; with a licence it can."""
    client = client_of(house.owner)
    page = ask(client, "GET", address("device", house)).content.decode()
    assert 'aria-disabled="true" aria-describedby="blocker"' in page
    assert REASONS["licence.missing"].meaning in page
    assert house.device.id in page
    client.post(address("device-licence", house), {"licence": SimpleUploadedFile("x", licence_of(house))}, secure=True)
    page = ask(client, "GET", address("device", house)).content.decode()
    assert 'aria-describedby="blocker"' not in page
    assert "Valid until" in page
    assert Pending.objects.filter(verb="licence.added", device=house.device.id).count() == 1


@pytest.mark.parametrize(
    ("changes", "issuer", "code"),
    [
        ({"device": "d-aaaaaaaaaaaaaaaa"}, ISSUER, "licence.other-device"),
        ({"valid_until": YESTERDAY}, ISSUER, "licence.expired"),
        ({}, SOMEBODY, "licence.unknown-issuer"),
    ],
)
def test_licence_that_does_not_count_when_added_then_refused_with_its_code_and_not_kept(
    house: House, changes: dict[str, Any], issuer: SigningKey, code: str
) -> None:
    """Page and API say what is wrong with the file, and keep nothing."""
    raw = licence_of(house, issuer, **changes)
    page = client_of(house.owner).post(
        address("device-licence", house), {"licence": SimpleUploadedFile("x", raw)}, secure=True
    )
    assert page.status_code == 400
    assert REASONS[code].meaning in unescape(page.content.decode())
    answer = call(token_of(house.owner), "PUT", f"/devices/{house.device.id}/licence", {"licence": raw.decode()})
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert not Row.objects.exists()


def test_licence_over_the_api_then_its_end_is_shown_and_the_door_can_be_asked_for(house: House) -> None:
    """What a program is told: what is missing, the code at the toggle, and after the upload neither."""
    token, path = token_of(house.owner), f"/devices/{house.device.id}"
    assert call(token, "GET", f"{path}/licence").json()["missing"]["code"] == "licence.missing"
    refused = call(token, "POST", f"{path}/door", {"state": "open"})
    assert (refused.status_code, refused.json()["code"]) == (409, "licence.missing")
    added = call(token, "PUT", f"{path}/licence", {"licence": licence_of(house, least_agent="0.9").decode()}).json()
    assert (added["missing"], added["least_agent"]) == (None, "0.9")
    assert datetime.fromisoformat(added["valid_until"].replace("Z", "+00:00")).date() == TOMORROW.date()
    assert call(token, "POST", f"{path}/door", {"state": "open"}).status_code == 202


def test_policy_when_set_over_the_api_then_it_is_in_the_history_and_a_version_that_is_none_is_declined(
    house: House,
) -> None:
    """The owner sets it; what cannot be compared is not taken."""
    token, path = token_of(house.owner), f"/projects/{house.project.id}"
    given = {"licence_policy": "required", "least_agent": "0.10.0"}
    assert call(token, "PATCH", path, given).json().items() >= given.items()
    assert Pending.objects.get(verb="project.changed").data.items() >= given.items()
    refused = call(token, "PATCH", path, {"least_agent": "latest"})
    assert (refused.status_code, refused.json()["code"]) == (409, "project.least-agent")
    assert call(token, "PATCH", path, {"licence_policy": "perhaps"}).status_code == 422


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("0.9.0", "0.10.0", True),
        ("0.10.0", "0.9.0", False),
        ("0.10.0", "0.10.0", False),
        ("0.10", "0.10.0", False),
        ("1", "0.99", False),
        ("0.10.0rc1", "0.10.0", True),
        ("0.10.0.dev3", "0.10.0", True),
        ("0.10.0+debian1", "0.10.0", False),
        ("0.10.0.post1", "0.10.0", False),
        ("0.10.1rc1", "0.10.0", False),
        ("", "0.0.1", True),
        ("unknown", "0.0.1", True),
    ],
)
def test_version_when_compared_then_by_numbers_and_not_by_letters(
    version: str,
    least: str,
    older: bool,  # noqa: FBT001  # a column of the table
) -> None:
    """0.9 is below 0.10, a release candidate below its release, and what cannot be read below everything."""
    assert is_older(version, least) is older
    assert is_version(least)


def test_licence_when_its_document_is_odd_then_it_is_none() -> None:
    """Every field has its type; a newer version is not guessed at."""
    ring = KeyRing([ISSUER.public])
    whole = {"type": "licence", "v": 1, "device": "d-aaaaaaaaaaaaaaaa", "valid_until": 1, "least_agent": ""}
    assert licence_from_bytes(ISSUER.seal("licence", json.dumps(whole).encode()), ring).device == whole["device"]
    for change in ({"v": 2}, {"type": "order"}, {"device": "x"}, {"valid_until": "never"}, {"least_agent": "latest"}):
        with pytest.raises(LicenceRefused) as refused:
            licence_from_bytes(ISSUER.seal("licence", json.dumps(whole | change).encode()), ring)
        assert refused.value.code == "licence.not-a-licence"
