"""SSH certificates: a device's for one session on a relay, and a door's host key for ever.

A tunnel certificate carries ``permit-port-forwarding`` and nothing else: without it every ``-R`` is denied, with more the
relay's shell would be near. Source: OpenSSH PROTOCOL.certkeys.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType

EARLY: Final = timedelta(minutes=5)
"""The relay's clock may be behind ours."""
_FOREVER: Final = 2**64 - 1
"""PROTOCOL.certkeys: no end. A door's host key lives as long as the device."""
_FROM_THE_START: Final = 0


class BadPublicKey(Exception):
    """Not an SSH public key that can be certified."""


@dataclass(frozen=True, slots=True)
class SshAuthority:
    """An SSH CA by its 32 secret bytes."""

    seed: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "SshAuthority(***)"

    @classmethod
    def generate(cls) -> "SshAuthority":
        """Make a new one from the system's randomness."""
        return cls(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def public_line(self) -> str:
        public = self._private().public_key()
        return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()

    def tunnel_certificate(
        self, public_line: str, *, device: str, principals: Sequence[str], now: datetime, ends_at: datetime
    ) -> str:
        """Certify a device's tunnel key for one session, from 5 minutes ago until the session's end.

        ``principals`` has the session, by which managed relays admit; for a plain relay also the project, as its line
        names it.

        Raises:
            BadPublicKey: ``public_line`` is no Ed25519, ECDSA or RSA key.
            ValueError: no principal, which some servers take for all.
        """
        if not principals:
            raise ValueError("a tunnel certificate names at least one principal")
        builder = (
            SSHCertificateBuilder()
            .public_key(_public(public_line))
            .serial(secrets.randbits(63))
            .type(SSHCertificateType.USER)
            .key_id(device.encode())
            .valid_principals([one.encode() for one in principals])
            .valid_after((now - EARLY).timestamp())
            .valid_before(ends_at.timestamp())
            .add_extension(b"permit-port-forwarding", b"")
        )
        return builder.sign(self._private()).public_bytes().decode()

    def host_certificate(self, public_line: str, *, device: str) -> str:
        """Certify a door's host key under the device's id, without an end; raises BadPublicKey."""
        builder = (
            SSHCertificateBuilder()
            .public_key(_public(public_line))
            .serial(secrets.randbits(63))
            .type(SSHCertificateType.HOST)
            .key_id(device.encode())
            .valid_principals([device.encode()])
            .valid_after(_FROM_THE_START)
            .valid_before(_FOREVER)
        )
        return builder.sign(self._private()).public_bytes().decode()

    def _private(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)


def _public(line: str) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    try:
        public = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadPublicKey("no SSH public key") from error
    if not isinstance(public, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise BadPublicKey("neither Ed25519 nor ECDSA nor RSA")
    return public


def check_public_line(line: str) -> None:
    """Raise BadPublicKey unless ``line`` is a key that can be certified."""
    _public(line)


def is_certifiable(line: str) -> bool:
    """Tell whether ``line`` is a public key that can be certified."""
    try:
        _public(line)
    except BadPublicKey:
        return False
    return True


def openssh_fingerprint(line: str) -> str:
    """Name a public key as ``ssh-keygen -l`` does: ``SHA256:`` and base64 without padding (ssh-keygen(1))."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
