"""The two lines that a person carries by hand: a device's join string and a relay's pairing line (protocol.md §7, §9).

Each names an address, the fingerprint of the TLS certificate found there, and a token that works once. The token is a
secret: these values print it as ``***``.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

TOKEN_BYTES: Final = 17
"""136 random bits; 26 of the resulting characters (130 bits) are kept."""
TOKEN_CHARACTERS: Final = 26

_JOIN: Final = "doorward-join-1"
_PAIR: Final = "doorward-relay-1"
_TOKEN: Final = re.compile(r"^[a-z2-7]{26}$")
_PORT: Final = re.compile(r"^[0-9]{1,5}$")
_FINGERPRINT: Final = re.compile(r"^sha256:[0-9a-f]{64}$")


class NotALine(Exception):
    """What was pasted is no such line; the message says which part is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class JoinLine:
    """Where a device joins, and with what."""

    address: str
    token: str = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True)
class PairingLine:
    """Where a relay waits to be paired, and with what."""

    host: str
    port: int
    fingerprint: str
    token: str = field(repr=False)
    ssh_host_key: str


def token_from_bytes(chance: bytes) -> str:
    """Make a token from ``TOKEN_BYTES`` random bytes."""
    if len(chance) != TOKEN_BYTES:
        raise ValueError(f"a token needs {TOKEN_BYTES} random bytes")
    return base64.b32encode(chance).decode().lower()[:TOKEN_CHARACTERS]


def token_digest(token: str) -> str:
    """Give what is stored instead of a token: 64 hex digits of its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


def fingerprint_of(certificate_der: bytes) -> str:
    """Name a TLS certificate by the SHA-256 of its DER encoding."""
    return "sha256:" + hashlib.sha256(certificate_der).hexdigest()


def text_from_join(line: JoinLine) -> str:
    """Write a join string."""
    return f"{_JOIN} {line.address} {line.token} {line.fingerprint}"


def join_from_text(text: str) -> JoinLine:
    """Read a join string as it was pasted, with whatever white space came along; raises NotALine."""
    parts = text.split()
    if len(parts) != 4 or parts[0] != _JOIN:
        raise NotALine(f"A join string has four parts and begins with {_JOIN}. Copy the whole line from the console.")
    if not parts[1].startswith("https://"):
        raise NotALine("The join string's address does not begin with https://. Copy the whole line from the console.")
    _check(parts[2], parts[3])
    return JoinLine(parts[1].rstrip("/"), parts[2], parts[3])


def text_from_pairing(line: PairingLine) -> str:
    """Write a pairing line."""
    return f"{_PAIR} {line.host} {line.port} {line.fingerprint} {line.token} {line.ssh_host_key}"


def pairing_from_text(text: str) -> PairingLine:
    """Read a pairing line as it was pasted; raises NotALine."""
    parts = text.split()
    if len(parts) != 7 or parts[0] != _PAIR:
        raise NotALine(f"A pairing line has seven parts and begins with {_PAIR}. Copy the whole line from the relay.")
    if _PORT.fullmatch(parts[2]) is None or not 0 < int(parts[2]) < 65_536:
        raise NotALine("The pairing line's third part is not a TCP port. Copy the whole line from the relay.")
    _check(parts[4], parts[3])
    return PairingLine(parts[1], int(parts[2]), parts[3], parts[4], f"{parts[5]} {parts[6]}")


def _check(token: str, fingerprint: str) -> None:
    if _TOKEN.fullmatch(token) is None:
        raise NotALine(f"The token is not {TOKEN_CHARACTERS} letters and digits 2 to 7. Copy the whole line again.")
    if _FINGERPRINT.fullmatch(fingerprint) is None:
        raise NotALine("The fingerprint is not sha256: and 64 hex digits. Copy the whole line again.")
