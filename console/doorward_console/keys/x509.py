"""The installation's X.509: root, device CAs, and what they certify. ECDSA P-256 throughout.

The broker trusts the root alone. Each project has a device CA of its own under it (no further CA below), for clients
only; devices show leaf and intermediate. A certificate's CN is the broker's user name, so the caller decides it, never
the CSR. Source: RFC 5280.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 30 * 365
DEVICE_DAYS: Final = 20 * 365
"""A device that slept for years must come back; who is blocked is blocked at the message level."""
WEB_DAYS: Final = 820
"""Browsers refuse server certificates of more than 825 days."""
_EARLY: Final = timedelta(days=1)
"""Clocks of console, broker and devices differ."""
_LONGEST_CSR: Final = 8192

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


class BadRequest(Exception):
    """A certificate signing request that cannot be certified."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A private key (PKCS 8, DER) and its certificate chain (PEM, leaf first)."""

    chain_pem: str
    private_der: bytes = field(repr=False)

    def key_pem(self) -> bytes:
        """Give the private key as PEM, for a file of its holder."""
        return _key_pem(_private(self.private_der))


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can issue; ``above`` is the PEM of those between it and the root, itself included, root excluded."""

    certificate_pem: str
    private_der: bytes = field(repr=False)
    above_pem: str = ""

    def issue(
        self, name: str, purpose: x509.ObjectIdentifier, now: datetime, days: int, *, hosts: Sequence[str] = ()
    ) -> Issued:
        """Make a key and certify it; ``hosts`` are the server's names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(name, key.public_key(), purpose, (now, days), hosts)
        return Issued(leaf + self.above_pem, _der(key))

    def certify(self, csr_pem: str, name: str, now: datetime, days: int = DEVICE_DAYS) -> str:
        """Certify a client's own key as ``name``, whatever its request calls itself; give the chain.

        Raises:
            BadRequest: no CSR, its signature is wrong, or the key is not on P-256.
        """
        return self._leaf(name, _key_of_csr(csr_pem), CLIENT, (now, days), ()) + self.above_pem

    def intermediate(self, name: str, now: datetime) -> Issued:
        """Make a CA below this one that can certify clients and no further CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, self._subject(), key.public_key(), (now, CA_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(of_ca=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([CLIENT]), critical=False)
        return Issued(_pem(_signed(builder, _private(self.private_der))), _der(key))

    def _leaf(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        purpose: x509.ObjectIdentifier,
        validity: tuple[datetime, int],
        hosts: Sequence[str],
    ) -> str:
        builder = _builder(name, self._subject(), public, validity)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(of_ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return _pem(_signed(builder, _private(self.private_der)))

    def _subject(self) -> x509.Name:
        return x509.load_pem_x509_certificate(self.certificate_pem.encode()).subject


def new_root(name: str, now: datetime) -> Issued:
    """Make an installation's root CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, _name(name), key.public_key(), (now, CA_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_usage(of_ca=True), critical=True)
    return Issued(_pem(_signed(builder, key)), _der(key))


def new_self_signed_client(name: str, now: datetime) -> Issued:
    """Make the client certificate that a relay pins at pairing; nobody has to vouch for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, _name(name), key.public_key(), (now, CA_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(of_ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([CLIENT]), critical=False)
    return Issued(_pem(_signed(builder, key)), _der(key))


def _key_of_csr(csr_pem: str) -> ec.EllipticCurvePublicKey:
    if len(csr_pem) > _LONGEST_CSR:
        raise BadRequest("too long")
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        public = csr.public_key()
        is_valid = csr.is_signature_valid
    except Exception as error:  # whatever a parser of foreign bytes may raise, it is the sender's fault
        raise BadRequest("no certificate signing request") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise BadRequest("its key is not on P-256")
    if not is_valid:
        raise BadRequest("its signature is wrong")
    return public


def _builder(
    name: str, issuer: x509.Name, public: ec.EllipticCurvePublicKey, validity: tuple[datetime, int]
) -> x509.CertificateBuilder:
    now, days = validity
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Sign, naming the signing key: Python 3.13 refuses a chain without it (VERIFY_X509_STRICT; RFC 5280, 4.2.1.1)."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(authority, critical=False).sign(key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


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


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private(der: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_der_private_key(der, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key
