"""The device's own keys: made here at joining, written with mode 0600, never sent.

Loads the cryptography library; only joining imports this module.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from doorward_protocol.signature import SigningKey

from doorward_agent.edges.files import write_whole

IDENTITY_KEY: Final = "identity_key"
TUNNEL_KEY: Final = "tunnel_key"
MQTT_KEY: Final = "mqtt.key"


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """Three private keys: signing records, logging in at relays, speaking to the broker."""

    identity: SigningKey
    tunnel: ed25519.Ed25519PrivateKey = field(repr=False)
    mqtt: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def tunnel_line(self) -> str:
        public = self.tunnel.public_key()
        return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()

    @property
    def mqtt_csr(self) -> str:
        """Ask for a certificate; the console chooses the name, which is the device's id."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.mqtt, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def write(self, folder: Path) -> None:
        """Write the private halves; raises OSError."""
        write_whole(folder / IDENTITY_KEY, self.identity.raw())
        write_whole(folder / TUNNEL_KEY, _private(self.tunnel, serialization.PrivateFormat.OpenSSH))
        write_whole(folder / MQTT_KEY, _private(self.mqtt, serialization.PrivateFormat.PKCS8))


def new_keys() -> DeviceKeys:
    """Make keys from the system's randomness."""
    return DeviceKeys(
        SigningKey.generate(), ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    )


def _private(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, shape: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, shape, serialization.NoEncryption())
