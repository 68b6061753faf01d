"""What a copy of an engineer's private key looks like, wherever it may have been left."""

import base64
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

SECRET_AT: Final = 230
"""Of the file's base64, among the characters that write its 161st to 192nd byte: the secret; OpenSSH's PROTOCOL.key."""


def forms_of(text: bytes) -> list[bytes]:
    """Give what a copy of a key file must contain: its secret bytes, raw, as hex, as base64, or as the line of its file."""
    loaded = load_ssh_private_key(text, None)
    assert isinstance(loaded, Ed25519PrivateKey)
    raw = loaded.private_bytes_raw()
    lines = text.splitlines()[1:-1]
    secret_line = lines[SECRET_AT // len(lines[0])]
    return [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), secret_line]


def copies_in(place: bytes | str, forms: Iterable[bytes]) -> list[bytes]:
    """Give the forms that stand in ``place``; text counts as the bytes that it would be written as."""
    content = place if isinstance(place, bytes) else place.encode("latin-1", "replace")
    return [form for form in forms if form in content]
