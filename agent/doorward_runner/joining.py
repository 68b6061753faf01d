"""Joining, the runner's part: make the door's host key, and pin who may give orders (protocol.md §9). Run by root.

``prepare`` and ``pin`` are reached by root at a shell alone, never through the socket or sudoers' line: whoever can pin can
open. Loads the signature library.
"""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType, load_ssh_public_identity
from doorward_protocol import fields
from doorward_protocol.ids import DeviceId, ProjectId, is_id
from doorward_protocol.signature import BadKey, KeyRing

from doorward_runner import settings
from doorward_runner.edges import files
from doorward_runner.edges.memory import Memory, Pins


class CannotPin(Exception):
    """What came on standard input cannot be pinned; says why."""


def prepared(memory: Memory) -> Mapping[str, Any]:
    """Give the door's public host key, after making the pair where there is none.

    Raises:
        CannotPin: settings are on trial: another project's console could not confirm them, and what was good would be forgotten.
    """
    if settings.last_settings(memory).state in settings.GOING:
        raise CannotPin("settings are on trial here; join once they are confirmed or put back, a few minutes from now")
    if not memory.host_key.exists():
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        files.write(memory.host_key, private.decode(), mode=0o600, durable=True)
    return {"door_host_key": _public_line(memory)}


def _public_line(memory: Memory) -> str:
    private = serialization.load_ssh_private_key(memory.host_key.read_bytes(), None)
    encoded = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


def pin(memory: Memory, line: bytes, *, is_again: bool) -> None:
    """Pin device, project, grant keys and host certificate.

    Raises:
        CannotPin: something is pinned already and ``is_again`` is false, or what came is not what it should be.
    """
    if memory.pins() is not None and not is_again:
        raise CannotPin("this device has joined; to join again: doorward-runner pin --again")
    try:
        source = fields.object_from_json(line)
        pins = _pins_from(source)
        certificate = fields.text_or_none(source, "host_certificate", longest=8192)
    except fields.Malformed as error:
        raise CannotPin(str(error)) from error
    if certificate is not None:
        _check_certificate(memory, certificate)
    memory.pin(pins)
    memory.host_certificate.unlink(missing_ok=True)
    if certificate is not None:
        files.write(memory.host_certificate, f"{certificate}\n", mode=0o644, durable=True)


def _pins_from(source: Mapping[str, Any]) -> Pins:
    device, project = fields.text(source, "device", longest=18), fields.text(source, "project", longest=18)
    keys = fields.texts(source, "grant_keys", most=8, longest=100)
    try:
        KeyRing(keys)
    except BadKey as error:
        raise CannotPin(f"a grant key is {error}") from error
    if not is_id("d", device) or not is_id("p", project) or not keys:
        raise CannotPin("device, project or grant_keys are not what joining gives")
    return Pins(DeviceId(device), ProjectId(project), keys)


def _check_certificate(memory: Memory, line: str) -> None:
    """Refuse a certificate that sshd would not show, or that is not for this host key."""
    try:
        identity = load_ssh_public_identity(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CannotPin("host_certificate is no SSH certificate") from error
    if not isinstance(identity, SSHCertificate) or identity.type is not SSHCertificateType.HOST:
        raise CannotPin("host_certificate is not a host's")
    shown = identity.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    if not memory.host_key.exists() or shown.decode() != _public_line(memory):
        raise CannotPin("host_certificate is for another key than this door's: doorward-runner prepare")


def line_from_prepared(answer: Mapping[str, Any]) -> str:
    """Write the answer of ``prepare``."""
    return json.dumps(answer) + "\n"
