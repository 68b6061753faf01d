"""Secrets in settings: sealed to one device and one place, masked in what a device says."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from doorward_protocol.sealed import (
    NOT_SET,
    SEALED,
    SET,
    NotOpened,
    is_masked,
    is_sealed,
    masked,
    opened,
    seal,
    secret_paths,
    with_each,
)

pytestmark = pytest.mark.feature("I15")

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC, PRIVATE = KEY.public_key().public_bytes_raw(), KEY.private_bytes_raw()
DEVICE, PATH = "d-aaaaaaaaaaaaaaaa", ("wifi", "password")
SCHEMA = {
    "properties": {
        "name": {"type": "string"},
        "pin": {"type": "string", "writeOnly": True},
        "wifi": {"properties": {"password": {"type": "string", "writeOnly": True}, "ssid": {}}},
        "odd": True,
        "properties": {"writeOnly": "yes"},
    }
}


def document(value: Any) -> dict[str, Any]:
    return {"name": "a", "wifi": {"ssid": "b", "password": value}}


@pytest.mark.parametrize("secret", ["hunter2", "", "ü" * 500, {"a": [1, None]}])
def test_secret_when_sealed_then_its_device_opens_it_in_its_place(secret: Any) -> None:
    """There and back; the sealed text is fresh each time and has no trace of it."""
    sealed = seal(PUBLIC, DEVICE, PATH, secret)
    assert opened(document(sealed), PRIVATE, DEVICE) == document(secret)
    assert sealed != seal(PUBLIC, DEVICE, PATH, secret)
    assert not secret or str(secret) not in str(sealed)


@pytest.mark.threat("broker-reads-secrets", "sealed-moved")
@pytest.mark.parametrize("why", ["key", "device", "place", "above", "changed", "none", "text"])
def test_secret_when_it_is_another_keys_devices_or_places_then_it_does_not_open(why: str) -> None:
    """It cannot be moved to a field that is shown, to another device, or be read by who carries it."""
    sealed = seal(PUBLIC, DEVICE, ("wifi/password",) if why == "above" else PATH, "hunter2")
    private = X25519PrivateKey.generate().private_bytes_raw() if why == "key" else None if why == "none" else PRIVATE
    if why == "changed":
        raw = bytearray(base64.b64decode(sealed[SEALED]))
        raw[-1] ^= 1
        sealed = {SEALED: base64.b64encode(raw).decode()}
    values: Any = {"name": sealed} if why == "place" else document({SEALED: "…"} if why == "text" else sealed)
    with pytest.raises(NotOpened):
        opened(values, private, "d-bbbbbbbbbbbbbbbb" if why == "device" else DEVICE)
    assert SEALED not in str(
        opened(values, private, "d-bbbbbbbbbbbbbbbb" if why == "device" else DEVICE, is_lenient=True)
    )


def test_secret_when_sealed_then_its_length_is_told_by_steps_alone() -> None:
    """A PIN of four and a password of forty look alike."""
    lengths = {len(seal(PUBLIC, DEVICE, PATH, "x" * length)[SEALED]) for length in (0, 4, 40, 62)}
    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("value", "hidden"), [("hunter2", SET), (True, SET), (SET, SET), ("", NOT_SET), (False, NOT_SET), (None, NOT_SET), (NOT_SET, NOT_SET)]
)  # fmt: skip
def test_secret_when_a_device_says_it_then_only_whether_it_is_set_is_left(value: Any, hidden: Any) -> None:
    """Also where its hook says more than it should."""
    said = {"name": "a", "pin": value, "wifi": {"ssid": "b", "password": value}}
    assert masked(said, SCHEMA) == {"name": "a", "pin": hidden, "wifi": {"ssid": "b", "password": hidden}}
    assert masked(said, None) == said


def test_secrets_when_looked_for_then_every_place_that_properties_lead_to_is_found() -> None:
    """Nothing else is called one."""
    assert list(secret_paths(SCHEMA)) == [("pin",), PATH]
    assert list(secret_paths({"properties": []})) == list(secret_paths([])) == []


def test_document_when_a_secret_is_to_stay_then_the_hook_is_not_told_of_it() -> None:
    """What is masked stays as it is on the device; a document is never changed in place."""
    values = document(dict(SET))
    assert opened(values, PRIVATE, DEVICE) == {"name": "a", "wifi": {"ssid": "b"}}
    assert values == document(SET)
    assert with_each({"wifi": 3}, [PATH], lambda *_: 1) == {"wifi": 3}
    assert (is_sealed({SEALED: "a", "b": 1}), is_masked({"$secret": "set", "b": 1})) == (False, False)
