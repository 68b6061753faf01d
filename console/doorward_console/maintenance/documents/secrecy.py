"""Secrets in settings, the console's part: sealed to the device before anything is stored or asked, and shown nowhere.

The key is the device's own word, signed with its door's host key; that key counts because the signer's host CA has certified it for
this device, so neither broker nor worker nor the agent's user can have secrets sealed to a key of theirs. In the web process
alone a secret is ever plain, for as long as a request takes.
"""

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from doorward_protocol import fields, sealed
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.signature import KeyRing, SignatureRefused

from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.keys.models import Key
from doorward_console.keys.pairs import public_of
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.documents.paths import pointer
from doorward_console.maintenance.documents.reading import read_from
from doorward_console.maintenance.documents.wanted import wanted_of

_KEY_BYTES = 32


def with_sealed(device: Device, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the document with each plain secret sealed; one that is left as it is stays what it was in what is wanted.

    Raises:
        NotAsked: ``settings.no-key``.
    """
    read, before = read_from(device), wanted_of(device).values
    key: list[bytes] = []

    def act(path: sealed.Path, value: Any) -> Any:
        if sealed.is_sealed(value):
            return value
        if sealed.is_masked(value):
            kept = _at(before, path)
            return kept if sealed.is_sealed(kept) else value
        key[:] = key or [_key_of(device, read)]
        return sealed.seal(key[0], device.pk, path, value)

    return sealed.with_each(values, paths_of(read), act)


def carried(device: Device, values: Mapping[str, Any], faulty: Collection[str] = ()) -> dict[str, Any]:
    """Give what goes with a page so that typed secrets need not be typed again: sealed ones, by JSON Pointer, but for ``faulty`` ones.

    What is wanted already is not among them, and nothing is where the device has no key.
    """
    read, before = read_from(device), wanted_of(device).values
    try:
        made = with_sealed(device, values)
    except NotAsked:
        return {}
    found = {path: _at(made, path) for path in paths_of(read)}
    return {
        pointer(path): value
        for path, value in found.items()
        if sealed.is_sealed(value) and value != _at(before, path) and pointer(path) not in faulty
    }


def with_carried(device: Device, values: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Put carried secrets where nothing newer was typed."""
    made: dict[str, Any] = json.loads(json.dumps(values))
    for path in paths_of(read_from(device)):
        value, here = kept.get(pointer(path)), _at(made, path)
        if sealed.is_sealed(value) and (here is None or sealed.is_masked(here) or sealed.is_sealed(here)):
            inner = made
            for step in path[:-1]:
                if not isinstance(inner.get(step), dict):
                    inner[step] = {}
                inner = inner[step]
            inner[path[-1]] = value
    return made


def shown(values: Mapping[str, Any], read: SettingsRead | None) -> dict[str, Any]:
    """Give the document as people and programs may see it: what is sealed, or a plain secret, is only said to be set."""
    hidden = sealed.with_each(values, paths_of(read), lambda _, value: value if sealed.is_masked(value) else sealed.SET)
    return sealed.with_each(
        hidden, sealed.marked(hidden), lambda _, value: value if sealed.is_masked(value) else sealed.SET
    )


def paths_of(read: SettingsRead | None) -> tuple[sealed.Path, ...]:
    """Give the places of secrets, as the device's schema says; none where it is too deep to be followed."""
    try:
        return () if read is None else tuple(sealed.secret_paths(read.schema))
    except RecursionError:
        return ()


def _at(values: Any, path: sealed.Path) -> Any:
    for step in path:
        values = values.get(step) if isinstance(values, dict) else None
    return values


def _key_of(device: Device, read: SettingsRead | None) -> bytes:
    """Give the device's key if its own certified host key vouches for it; raises NotAsked ``settings.no-key``."""
    try:
        envelope = decode(json.dumps(read.key if read else None).encode(), expected="key")
        said = fields.object_from_json(KeyRing([_certified(device)]).verify(envelope))
        raw = base64.b64decode(fields.text(said, "key", longest=44), validate=True)
        if fields.text(said, "device", longest=18) == device.pk and len(raw) == _KEY_BYTES:
            return raw
    except (NotAnEnvelope, SignatureRefused, Malformed, ValueError, InvalidSignature, UnsupportedAlgorithm):
        pass
    raise NotAsked("settings.no-key")


def _certified(device: Device) -> str:
    """Give the public key of the device's door, as the project's host CA has certified it; raises as its libraries do."""
    ca = public_of(device.project, Key.Kind.HOST_CA)
    certificate = load_ssh_public_identity(device.door_host_certificate.encode())
    if ca is None or not isinstance(certificate, SSHCertificate) or certificate.type is not SSHCertificateType.HOST:
        raise ValueError("no certificate")
    certificate.verify_cert_signature()
    signed_by = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    public = certificate.public_key()
    is_ours = signed_by.split()[:2] == ca.split()[:2] and certificate.valid_principals == [device.pk.encode()]
    if not is_ours or not isinstance(public, Ed25519PublicKey):
        raise ValueError("another's certificate")
    return base64.b64encode(public.public_bytes_raw()).decode()
