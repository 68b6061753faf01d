"""Private keys at rest: AES-256-GCM under the wrapping key of the one process that may use them.

A copy of the database holds only what this makes. Each wrapped key is bound to its project and kind, so a row cannot be
passed off as another one. Secret values here print as ``***``.
"""

import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
"""NIST SP 800-38D, section 5.2.1.1; each wrapped key has a random one of its own."""


class NotUnwrapped(Exception):
    """The wrapping key does not fit, or the row was changed or moved."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The key {name} cannot be opened with this process's wrapping key.")
        self.name = name


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """The 32 bytes that open one process's keys."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a wrapping key has {KEY_BYTES} bytes")

    def __repr__(self) -> str:
        return "WrappingKey(***)"

    def wrap(self, name: str, private: bytes) -> bytes:
        """Encrypt ``private`` so that only this key opens it, and only under ``name``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, private, name.encode())

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """Give the private key again; raises NotUnwrapped."""
        try:
            return AESGCM(self.secret).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise NotUnwrapped(name) from None
