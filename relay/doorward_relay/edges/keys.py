"""The relay's own keys: TLS certificate, record key, sshd's host key; and the TLS contexts made of them."""

import ipaddress
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from doorward_protocol.signature import SigningKey

from doorward_relay.edges.files import write_whole

_TLS_DAYS: Final = 3650
"""The console pins the certificate itself; its dates only must not end before the relay does."""


def make_tls(certificate: Path, key: Path, host: str) -> None:
    """Make a self-signed P-256 certificate for ``host`` and loopback, unless there is one."""
    if certificate.exists() and key.exists():
        return
    private = ec.generate_private_key(ec.SECP256R1())
    write_whole(key, _pem(private), 0o400)
    write_whole(certificate, _self_signed(private, host).public_bytes(serialization.Encoding.PEM), 0o644)


def certificate_der(certificate: Path) -> bytes:
    """Read a PEM certificate as DER."""
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def make_record_key(path: Path) -> None:
    """Make the key that signs the relay's records (its 32 secret bytes, mode 0400), unless there is one."""
    if not path.exists():
        write_whole(path, SigningKey.generate().raw(), 0o400)


def record_key(path: Path) -> SigningKey:
    """Read the key that signs the relay's records."""
    return SigningKey.from_raw(path.read_bytes())


def make_host_key(path: Path) -> None:
    """Make sshd's Ed25519 host key in OpenSSH's format, unless there is one."""
    if path.exists():
        return
    private = Ed25519PrivateKey.generate()
    openssh = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_whole(path, openssh, 0o600)
    write_whole(path.with_name(path.name + ".pub"), public + b"\n", 0o644)


def host_key_line(path: Path) -> str:
    """Give sshd's public host key as ``type base64``."""
    kind, key, *_ = path.with_name(path.name + ".pub").read_text().split()
    return f"{kind} {key}"


def unpaired_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Serve TLS to whoever comes: there is nothing behind it but the pairing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def paired_context(certificate: Path, key: Path, client_pem: str) -> ssl.SSLContext:
    """Serve TLS to the one client certificate that was pinned, whoever issued it."""
    context = unpaired_context(certificate, key)
    context.load_verify_locations(cadata=client_pem)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the pinned certificate need not be its own issuer
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def is_certificate(pem: str) -> bool:
    """Tell whether ``pem`` is exactly one X.509 certificate."""
    try:
        return len(x509.load_pem_x509_certificates(pem.encode())) == 1
    except ValueError:
        return False


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(private: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names = {host: None, "localhost": None, "127.0.0.1": None, "::1": None}
    alternatives = x509.SubjectAlternativeName([_general_name(one) for one in names])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_TLS_DAYS))
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
