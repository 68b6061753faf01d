"""Ed25519 over DSSE envelopes: the only place in this room that loads a signature library.

Whoever stays small imports this late, and it takes raw keys alone: ``serialization`` would cost each order a tenth of its
runner's time, and the agent a megabyte. A ``KeyRing`` holds what was pinned; the envelope's key id only chooses among
those, and never brings a key in. A private key has no repr: ``SigningKey`` prints as ``***``.
Source: RFC 8032; DSSE v1.0.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final, NewType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from doorward_protocol.envelope import Envelope, SignedBytes, encode, pre_authentication_encoding

PublicKeyText = NewType("PublicKeyText", str)
"""A public key on the wire: standard base64 of its 32 raw bytes."""


_KEY_BYTES: Final = 32
"""RFC 8032, section 5.1.5."""


class BadKey(Exception):
    """A public key text that is not 32 bytes of base64."""


class SignatureRefused(Exception):
    """No pinned key vouches for these bytes; ``code`` is ``unknown-key`` or ``bad-signature``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def keyid_of(public_key: PublicKeyText) -> str:
    """Name a public key: the first 32 hex digits of the SHA-256 of its raw bytes.

    Raises:
        BadKey: the text is no public key.
    """
    return hashlib.sha256(_raw(public_key)).hexdigest()[:32]


def _raw(public_key: PublicKeyText) -> bytes:
    try:
        raw = base64.b64decode(public_key, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("not base64") from None
    if len(raw) != _KEY_BYTES:
        raise BadKey(f"not {_KEY_BYTES} bytes")
    return raw


class SigningKey:
    """A private Ed25519 key that can sign and cannot be printed."""

    __slots__ = ("private",)

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private

    def __repr__(self) -> str:
        return f"SigningKey(*** for {self.public})"

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_raw(cls, seed: bytes) -> "SigningKey":
        """Read a key from its 32 secret bytes (RFC 8032 seed)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def raw(self) -> bytes:
        """Give the 32 secret bytes, for a file of mode 0400 or a wrapped column and nothing else."""
        return self.private.private_bytes_raw()

    @property
    def public(self) -> PublicKeyText:
        return PublicKeyText(base64.b64encode(self.private.public_key().public_bytes_raw()).decode())

    def seal(self, of: str, payload: bytes) -> SignedBytes:
        """Sign ``payload`` as a message of type ``of`` and encode the envelope."""
        signature = self.private.sign(pre_authentication_encoding(of, payload))
        return encode(Envelope(of, payload, keyid_of(self.public), signature))


class KeyRing:
    """Pinned public keys, by key id."""

    __slots__ = ("_keys",)

    def __init__(self, public_keys: Iterable[str]) -> None:
        """Pin ``public_keys``; raises BadKey when one is none."""
        self._keys = {
            keyid_of(PublicKeyText(text)): Ed25519PublicKey.from_public_bytes(_raw(PublicKeyText(text)))
            for text in public_keys
        }

    def verify(self, envelope: Envelope) -> bytes:
        """Give the payload if a pinned key signed it.

        Raises:
            SignatureRefused: ``unknown-key`` or ``bad-signature``.
        """
        key = self._keys.get(envelope.keyid)
        if key is None:
            raise SignatureRefused("unknown-key")
        try:
            key.verify(envelope.signature, pre_authentication_encoding(envelope.type, envelope.payload))
        except InvalidSignature:
            raise SignatureRefused("bad-signature") from None
        return envelope.payload
