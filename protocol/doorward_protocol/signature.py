"""Ed25519 over DSSE envelopes: the only place in this room that loads a signature library, at the first use.

It takes raw keys alone: ``serialization`` would cost each order a tenth of its runner's time, and the agent a megabyte. An
agent, which has an OpenSSL loaded already, brings that (``Ed25519``). A ``KeyRing`` holds what was pinned; the envelope's key id
only chooses among those, and never brings a key in. A private key has no repr: ``SigningKey`` prints as ``***``.
Source: RFC 8032; DSSE v1.0.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NewType, Protocol

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


class Ed25519(Protocol):
    """Who computes in place of the ``cryptography`` package; keys are raw."""

    def verifies(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` is the key's over ``data``; False for whatever else goes wrong."""
        ...

    def sign(self, seed: bytes, data: bytes) -> bytes: ...

    def public_of(self, seed: bytes) -> bytes: ...


class SigningKey:
    """A private Ed25519 key that can sign and cannot be printed."""

    __slots__ = ("_seed", "_sign", "public")

    def __init__(self, seed: bytes, sign: Callable[[bytes], bytes], public: bytes) -> None:
        """Take what ``generate`` or ``from_raw`` made: who signs with ``seed``, and the raw public half."""
        self._seed = seed
        self._sign = sign
        self.public = PublicKeyText(base64.b64encode(public).decode())

    def __repr__(self) -> str:
        return f"SigningKey(*** for {self.public})"

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key from the system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls.from_raw(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_raw(cls, seed: bytes, by: Ed25519 | None = None) -> "SigningKey":
        """Read a key from its 32 secret bytes (RFC 8032 seed)."""
        if by is not None:
            return cls(seed, partial(by.sign, seed), by.public_of(seed))
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(seed, private.sign, private.public_key().public_bytes_raw())

    def raw(self) -> bytes:
        """Give the 32 secret bytes, for a file of mode 0400 or a wrapped column and nothing else."""
        return self._seed

    def seal(self, of: str, payload: bytes) -> SignedBytes:
        """Sign ``payload`` as a message of type ``of`` and encode the envelope."""
        signature = self._sign(pre_authentication_encoding(of, payload))
        return encode(Envelope(of, payload, keyid_of(self.public), signature))


class KeyRing:
    """Pinned public keys, by key id."""

    __slots__ = ("_keys", "_verifies")

    def __init__(self, public_keys: Iterable[str], by: Ed25519 | None = None) -> None:
        """Pin ``public_keys``; raises BadKey when one is none."""
        self._keys = {keyid_of(PublicKeyText(text)): _raw(PublicKeyText(text)) for text in public_keys}
        self._verifies = _verifies if by is None else by.verifies

    def verify(self, envelope: Envelope) -> bytes:
        """Give the payload if a pinned key signed it.

        Raises:
            SignatureRefused: ``unknown-key`` or ``bad-signature``.
        """
        key = self._keys.get(envelope.keyid)
        if key is None:
            raise SignatureRefused("unknown-key")
        if not self._verifies(key, envelope.signature, pre_authentication_encoding(envelope.type, envelope.payload)):
            raise SignatureRefused("bad-signature")
        return envelope.payload


def _verifies(public_key: bytes, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except InvalidSignature:
        return False
    return True
