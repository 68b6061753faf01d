"""DSSE envelopes: how bytes and their one signature travel (protocol.md §1).

Knows the shape only. Whether a signature holds is ``signature``'s business, so that an idle agent can refuse what is
too large or no envelope without loading a signature library.
Source: DSSE v1.0 protocol and envelope specification.
"""

import base64
import json
import re
from typing import Final, NamedTuple, NewType

from doorward_protocol import fields

MAX_BYTES: Final = 65_536
"""An envelope as sent; fits a broker's default packet limit and a small device's memory."""

SignedBytes = NewType("SignedBytes", bytes)
"""An encoded envelope, as it travels and as it is stored."""

_PAYLOAD_TYPE: Final = re.compile(r"^application/vnd\.doorward\.([a-z]+)\+json$")
_KEYID: Final = re.compile(r"^[0-9a-f]{32}$")


class NotAnEnvelope(Exception):
    """The bytes cannot be read as an envelope; ``code`` is the last part of a reason code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Envelope(NamedTuple):
    """Unverified content with one signature over it."""

    type: str
    payload: bytes
    keyid: str
    signature: bytes


def payload_type(of: str) -> str:
    """Name the media type of a message type such as ``order``."""
    return f"application/vnd.doorward.{of}+json"


def pre_authentication_encoding(of: str, payload: bytes) -> bytes:
    """Build the bytes that are signed (DSSE v1.0, PAE)."""
    kind = payload_type(of).encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def encode(envelope: Envelope) -> SignedBytes:
    """Write an envelope as it travels."""
    document = {
        "payloadType": payload_type(envelope.type),
        "payload": base64.b64encode(envelope.payload).decode(),
        "signatures": [{"keyid": envelope.keyid, "sig": base64.b64encode(envelope.signature).decode()}],
    }
    return SignedBytes(json.dumps(document, separators=(",", ":")).encode())


def decode(raw: bytes, *, expected: str) -> Envelope:
    """Read an envelope that should hold a message of type ``expected``.

    Raises:
        NotAnEnvelope: ``too-large``, ``not-an-envelope``, ``unsigned`` or ``wrong-type``, checked in the order of
            protocol.md §4: size, shape, type, signature's presence.
    """
    if len(raw) > MAX_BYTES:
        raise NotAnEnvelope("too-large")
    try:
        document = fields.object_from_json(raw)
        found = _PAYLOAD_TYPE.fullmatch(fields.text(document, "payloadType", longest=100))
        payload = _bytes(fields.text(document, "payload", longest=MAX_BYTES))
        signatures = fields.mappings(document, "signatures")
    except (fields.Malformed, ValueError):
        raise NotAnEnvelope("not-an-envelope") from None
    if found is None or found.group(1) != expected:
        raise NotAnEnvelope("wrong-type")
    if len(signatures) != 1:
        raise NotAnEnvelope("unsigned")
    try:
        keyid = fields.text(signatures[0], "keyid", longest=32)
        signature = _bytes(fields.text(signatures[0], "sig", longest=200))
    except (fields.Malformed, ValueError):
        raise NotAnEnvelope("unsigned") from None
    if _KEYID.fullmatch(keyid) is None or not signature:
        raise NotAnEnvelope("unsigned")
    return Envelope(expected, payload, keyid, signature)


def _bytes(encoded: str) -> bytes:
    """Decode base64; raises ValueError, also for text that is not ASCII."""
    return base64.b64decode(encoded, validate=True)
