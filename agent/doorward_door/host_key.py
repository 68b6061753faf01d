"""The door's host key, plain and with its certificate, as paramiko's server can show them.

paramiko knows host certificates as a client only. A server's key is asked for three things: its name in the negotiation, the
bytes that are shown (RFC 4253 §8, K_S), and a signature; with a certificate, the first two are the certificate's and the
signature stays the plain key's (PROTOCOL.certkeys of OpenSSH).
"""

import base64
from pathlib import Path
from typing import Final

from paramiko import Ed25519Key

CERTIFICATE_TYPE: Final = "ssh-ed25519-cert-v01@openssh.com"


class CertifiedKey(Ed25519Key):
    """An Ed25519 host key that shows its certificate."""

    def __init__(self, path: Path, certificate: bytes) -> None:
        super().__init__(filename=str(path))
        self._certificate = certificate

    def get_name(self) -> str:
        return CERTIFICATE_TYPE

    def asbytes(self) -> bytes:
        return self._certificate


def keys_from_files(path: Path, certificate: Path | None) -> tuple[Ed25519Key, ...]:
    """Read the key at ``path``: once with its certificate, where there is one, and once plain."""
    plain = Ed25519Key(filename=str(path))
    if certificate is None:
        return (plain,)
    blob = base64.b64decode(certificate.read_text(encoding="utf-8").split()[1])
    return CertifiedKey(path, blob), plain
