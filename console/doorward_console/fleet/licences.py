"""Licence files: an issuer's signed word that a device may be maintained until a day, by an agent that is new enough.

A licence is a DSSE envelope like all else that is signed here; its issuer's public key stands in the console's
configuration, and no process of the console holds the private one. Pure: keys and times arrive as values. What follows from
a licence is ``maintenance.decisions``' business.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from doorward_protocol import fields
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import is_id
from doorward_protocol.signature import KeyRing, SignatureRefused, SigningKey

from doorward_console.times import ms_from_time, time_from_ms

_VERSION: Final = re.compile(r"^(\d{1,6}(?:\.\d{1,6}){0,4})(.*)$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Licence:
    """What an issuer signed; ``least_agent`` is empty where any agent will do."""

    device: str
    valid_until: datetime
    least_agent: str = ""


class LicenceRefused(Exception):
    """The bytes are no licence that counts; ``code`` is a reason code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def seal_licence(issuer: SigningKey, licence: Licence) -> bytes:
    """Sign a licence: the whole content of a licence file."""
    document = {
        "type": "licence",
        "v": 1,
        "device": licence.device,
        "valid_until": ms_from_time(licence.valid_until),
        "least_agent": licence.least_agent,
    }
    return issuer.seal("licence", json.dumps(document, separators=(",", ":")).encode())


def licence_from_bytes(raw: bytes, issuers: KeyRing) -> Licence:
    """Read a licence file that a configured issuer signed; whose it is and how long it lasts is looked at elsewhere.

    Raises:
        LicenceRefused: ``licence.not-a-licence``, ``licence.unknown-issuer`` or ``licence.bad-signature``.
    """
    try:
        return _licence(issuers.verify(decode(raw, expected="licence")))
    except (NotAnEnvelope, Malformed):
        raise LicenceRefused("licence.not-a-licence") from None
    except SignatureRefused as refused:
        is_strange = refused.code == "unknown-key"
        raise LicenceRefused("licence.unknown-issuer" if is_strange else "licence.bad-signature") from None


def _licence(payload: bytes) -> Licence:
    source = fields.object_from_json(payload)
    if source.get("type") != "licence" or source.get("v") != 1:
        raise Malformed("type", "a licence of version 1")
    device = fields.text(source, "device", longest=18)
    least = fields.text(source, "least_agent", longest=40)
    if not is_id("d", device):
        raise Malformed("device", "an id of kind d")
    if least and not is_version(least):
        raise Malformed("least_agent", "a version")
    return Licence(device, time_from_ms(fields.integer(source, "valid_until")), least)


def is_version(text: str) -> bool:
    """Tell whether ``text`` begins like a version; 0.10.0 does, latest does not."""
    return len(text) <= 40 and _VERSION.fullmatch(text) is not None


def is_older(version: str, least: str) -> bool:
    """Tell whether an agent's version is below ``least``: 0.9.0 is below 0.10.0, and 0.10.0rc1 is, too.

    A version that cannot be read is below every other.
    """
    return _rank(version) < _rank(least)


def _rank(version: str) -> tuple[tuple[int, ...], bool]:
    found = _VERSION.fullmatch(version)
    if found is None:
        return (-1,), False
    numbers = [int(part) for part in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 1.0 is 1.0.0
    is_final = not found[2] or found[2].startswith(("+", ".post"))
    return tuple(numbers), is_final
