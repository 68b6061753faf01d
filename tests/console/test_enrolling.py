"""What the signer certifies: a device that was added, with a token of its own that was used just now, and never silently."""

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from doorward_console.fleet.enrolling import certify
from doorward_console.fleet.models import Device, Enrolment, JoinToken
from doorward_console.history.models import Pending
from doorward_console.keys.making import ensure_root, ensure_signer_keys
from doorward_console.keys.ssh import openssh_fingerprint
from doorward_protocol.signature import PublicKeyText, keyid_of

from tests.console.conftest import ED25519_LINE, House, make_house
from tests.console.test_joining import csr
from tests.console.test_signing import new_signer

IDENTITY, STRANGER = (base64.b64encode(one * 32).decode() for one in (b"i", b"j"))


@pytest.fixture
def house(db: None) -> House:
    """A house whose device was added and has not joined, with the signer's keys."""
    house = make_house()
    house.device.state, house.device.joined_at, house.device.tunnel_key = Device.State.ADDED, None, ""
    house.device.save()
    wrapping = new_signer().keys.wrapping
    ensure_root(wrapping)
    ensure_signer_keys(house.project, wrapping)
    return house


def token_of(device: Device) -> JoinToken:
    """Make a token that was used just now."""
    now = timezone.now()
    made: JoinToken = JoinToken.objects.create(
        device=device, digest="a" * 64, expires_at=now + timedelta(hours=1), used_at=now
    )
    return made


def enrolment_of(device: Device, token: JoinToken | None, **given: Any) -> Enrolment:
    standard: dict[str, Any] = {
        "device": device, "token": token, "identity_key": IDENTITY, "tunnel_key": ED25519_LINE, "mqtt_csr": csr(),
        "from_address": "203.0.113.7", "agent_version": "0.1.0",
    }  # fmt: skip
    made: Enrolment = Enrolment.objects.create(**(standard | given))
    return made


def answered(enrolment: Enrolment) -> tuple[str, str]:
    certify(new_signer(), enrolment.id)
    enrolment.refresh_from_db()
    return str(enrolment.state), enrolment.code


@pytest.mark.threat("web-process-silent-join")
def test_certificate_when_made_then_the_signer_writes_it_down(house: House) -> None:
    """The signer's own transaction holds the record, with the identity and the tunnel key that were certified."""
    assert answered(enrolment_of(house.device, token_of(house.device))) == ("certified", "")
    written = Pending.objects.get(verb="device.joined")
    assert (written.project_id, written.device) == (house.project.id, house.device.id)
    assert written.data == {
        "from": "203.0.113.7",
        "agent": "0.1.0",
        "identity": keyid_of(PublicKeyText(IDENTITY)),
        "tunnel_key": openssh_fingerprint(ED25519_LINE),
    }


@pytest.mark.threat("web-process-silent-join")
@pytest.mark.parametrize("token", ["none", "another device's", "unused", "used long ago", "used later", "expired"])
def test_certificate_when_no_token_was_used_for_it_then_refused(house: House, token: str) -> None:
    """Without a token of this very device that was used just now, the signer certifies nothing."""
    now, minute = timezone.now(), timedelta(minutes=1)
    used: dict[str, tuple[datetime | None, datetime]] = {
        "unused": (None, now + 60 * minute),
        "used long ago": (now - 60 * minute, now + 60 * minute),
        "used later": (now + 60 * minute, now + 120 * minute),
        "expired": (now, now - minute),
    }
    shown = None if token == "none" else token_of(house.device)
    if shown is not None and token == "another device's":
        shown.device = make_house("elsewhere").device
        shown.save()
    if shown is not None and token in used:
        shown.used_at, shown.expires_at = used[token]
        shown.save()
    assert answered(enrolment_of(house.device, shown)) == ("refused", "join.bad-token")
    assert not Pending.objects.filter(verb="device.joined").exists()


@pytest.mark.threat("web-process-silent-join")
def test_certificate_when_the_token_served_already_then_the_database_refuses(house: House) -> None:
    """One token stands for one enrolment."""
    token = token_of(house.device)
    assert answered(enrolment_of(house.device, token))[0] == "certified"
    with pytest.raises(IntegrityError), transaction.atomic():
        enrolment_of(house.device, token)


@pytest.mark.parametrize(
    ("state", "identity", "answer"),
    [
        (Device.State.JOINED, IDENTITY, ("certified", "")),
        (Device.State.JOINED, STRANGER, ("refused", "join.other-identity")),
        (Device.State.BLOCKED, IDENTITY, ("refused", "signer.blocked")),
    ],
)
def test_certificate_when_the_device_is_known_then_for_the_same_identity_alone(
    house: House, state: Device.State, identity: str, answer: tuple[str, str]
) -> None:
    """A device that joined comes back as itself; another identity is certified only for a device that was just added."""
    house.device.state, house.device.identity_key = state, IDENTITY
    house.device.save()
    assert answered(enrolment_of(house.device, token_of(house.device), identity_key=identity)) == answer


def test_certificate_when_a_key_is_malformed_then_nothing_is_written_down(house: House) -> None:
    """A refusal leaves no record of a device that joined."""
    enrolment = enrolment_of(house.device, token_of(house.device), mqtt_csr="no csr")
    assert answered(enrolment) == ("refused", "join.malformed")
    assert not Pending.objects.filter(verb="device.joined").exists()
