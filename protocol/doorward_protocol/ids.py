"""Names of things on the wire: one letter for the kind, a hyphen, sixteen characters of base32.

Chance arrives as an argument: whoever makes an id brings ten random bytes.
"""

import base64
import re
from typing import Final, NewType

CommandId = NewType("CommandId", str)
DeviceId = NewType("DeviceId", str)
OrderId = NewType("OrderId", str)
ProjectId = NewType("ProjectId", str)
RelayId = NewType("RelayId", str)
SessionId = NewType("SessionId", str)

RANDOM_BYTES: Final = 10
"""80 bits: two ids never meet, and sixteen base32 characters hold them without padding."""

_SHAPE: Final = re.compile(r"^[cdrpso]-[a-z2-7]{16}$")


def id_from_bytes(kind: str, chance: bytes) -> str:
    """Build an id of ``kind`` (one of ``cdrpso``) from ten random bytes."""
    if len(chance) != RANDOM_BYTES:
        raise ValueError(f"an id needs {RANDOM_BYTES} random bytes, not {len(chance)}")
    made = f"{kind}-{base64.b32encode(chance).decode().lower()}"
    if not is_id(kind, made):
        raise ValueError(f"{kind!r} is not a kind of id")
    return made


def is_id(kind: str, text: str) -> bool:
    """Tell whether ``text`` is a well-formed id of ``kind``."""
    return text.startswith(f"{kind}-") and _SHAPE.fullmatch(text) is not None
