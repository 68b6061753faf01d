"""X.509 for tests, in the shape of a real installation.

The broker trusts one root. Each project's device CA is an intermediate under it; devices and replicas show their leaf
and that intermediate. Everything is ECDSA P-256.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.parts.files import write_whole


@dataclass(frozen=True, slots=True)
class Credentials:
    """A private key and its chain as PEM, the leaf first."""

    chain_pem: bytes
    key_pem: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.crt`` and ``name.key`` (mode 0600) and give both paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        write_whole(certificate, self.chain_pem, 0o644)
        write_whole(key, self.key_pem, 0o600)
        return certificate, key

    @property
    def leaf_der(self) -> bytes:
        leaf = x509.load_pem_x509_certificate(self.chain_pem)
        return leaf.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can issue; ``above`` are the certificates between it and the root, without the root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)

    def intermediate(self, common_name: str) -> "Authority":
        """Make a CA under this one, for clients only: a project's device CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common_name, self.certificate.subject, key, days=7300)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(of_ca=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        made = _signed(builder, self.key)
        return Authority(made, key, (made, *self.above))

    def server(self, names: Sequence[str] = ("localhost", "127.0.0.1"), days: int = 365) -> Credentials:
        """Issue a server certificate for host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(names[0], self.certificate.subject, key, days=days)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        return self._sign(builder, key, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, common_name: str, days: int = 7300) -> Credentials:
        """Issue a client certificate whose CN is a device id or a replica's name."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common_name, self.certificate.subject, key, days=days)
        return self._sign(builder, key, ExtendedKeyUsageOID.CLIENT_AUTH)

    def client_from_csr(self, csr_pem: bytes, common_name: str) -> bytes:
        """Certify a CSR's key under ``common_name`` and give the chain as PEM."""
        csr = x509.load_pem_x509_csr(csr_pem)
        public = csr.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        builder = _builder(common_name, self.certificate.subject, public, days=7300)
        leaf = self._finish(builder, ExtendedKeyUsageOID.CLIENT_AUTH)
        return b"".join(_pem(one) for one in (leaf, *self.above))

    def _sign(
        self, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, purpose: x509.ObjectIdentifier
    ) -> Credentials:
        leaf = self._finish(builder, purpose)
        return Credentials(b"".join(_pem(one) for one in (leaf, *self.above)), key_pem(key))

    def _finish(self, builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier) -> x509.Certificate:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(of_ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return _signed(builder, self.key)


def make_root(common_name: str = "doorward test root") -> Authority:
    """Make an installation's root CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(common_name, name, key, days=7300)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_usage(of_ca=True), critical=True)
    return Authority(_signed(builder, key), key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS 8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    common_name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Sign, naming the signing key: Python 3.13 refuses a chain without it."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(authority, critical=False).sign(key, hashes.SHA256())


def _usage(*, of_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_ca,
        key_cert_sign=of_ca,
        crl_sign=of_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
