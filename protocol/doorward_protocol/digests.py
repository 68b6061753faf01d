"""Digests as they are written on the wire: ``sha256:`` and 64 lower-case hex digits."""

import hashlib
import re
from typing import Final, NewType

Digest = NewType("Digest", str)

_SHAPE: Final = re.compile(r"^sha256:[0-9a-f]{64}$")


def digest_of(content: bytes) -> Digest:
    """Name ``content`` by its SHA-256."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def is_digest(text: str) -> bool:
    """Tell whether ``text`` has the shape of a digest."""
    return _SHAPE.fullmatch(text) is not None
