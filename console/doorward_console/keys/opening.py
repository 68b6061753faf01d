"""Keys in use: rows found, private halves opened with the wrapping key of the process that may.

``SignerKeys`` and ``WorkerKeys`` are the same rows seen by two holders: neither can open the other's, whatever it reads.
A private key lives for one call and is kept nowhere; opening costs microseconds.
"""

from dataclasses import dataclass
from typing import Any

from doorward_protocol.signature import SigningKey

from doorward_console.keys.models import Key
from doorward_console.keys.ssh import SshAuthority
from doorward_console.keys.wrapping import WrappingKey
from doorward_console.keys.x509 import Authority, Issued


class NoKey(Exception):
    """The project has no live key of this kind; its holder makes one when it next looks."""

    def __init__(self, kind: str, project: str | None) -> None:
        super().__init__(f"{project or 'The installation'} has no key of kind {kind}.")
        self.kind = kind
        self.project = project


def name_of(kind: str, project: str | None) -> str:
    """Name a key; a wrapped key opens under this name only."""
    return f"{project or '-'}/{kind}"


def has_key(kind: str, project: str | None) -> bool:
    """Tell whether there is a live key of this kind."""
    return bool(Key.objects.filter(kind=kind, project_id=project, retired_at__isnull=True).exists())


def public_part(kind: str, project: str | None) -> str:
    """Give the public half: base64 (grant, record), an SSH line (tunnel-ca, host-ca), or a PEM certificate.

    Reads no other column: on PostgreSQL web has no right to the wrapped one. Raises NoKey.
    """
    return str(_live(kind, project, "public")[0])


def _opened(wrapping: WrappingKey, kind: str, project: str | None) -> tuple[str, bytes]:
    public, wrapped = _live(kind, project, "public", "wrapped")
    return str(public), wrapping.unwrap(name_of(kind, project), bytes(wrapped))


def _live(kind: str, project: str | None, *columns: str) -> tuple[Any, ...]:
    live = Key.objects.filter(kind=kind, project_id=project, retired_at__isnull=True)
    found: tuple[Any, ...] | None = live.values_list(*columns).first()
    if found is None:
        raise NoKey(kind, project)
    return found


@dataclass(frozen=True, slots=True)
class SignerKeys:
    """What the signer can open. Each call raises NoKey or NotUnwrapped."""

    wrapping: WrappingKey

    def grant(self, project: str) -> SigningKey:
        """Give the key that signs orders and grants."""
        return SigningKey.from_raw(_opened(self.wrapping, Key.Kind.GRANT, project)[1])

    def tunnel_ca(self, project: str) -> SshAuthority:
        return SshAuthority(_opened(self.wrapping, Key.Kind.TUNNEL_CA, project)[1])

    def host_ca(self, project: str) -> SshAuthority:
        return SshAuthority(_opened(self.wrapping, Key.Kind.HOST_CA, project)[1])

    def root_ca(self) -> Authority:
        return Authority(*_opened(self.wrapping, Key.Kind.ROOT_CA, None))

    def device_ca(self, project: str) -> Authority:
        certificate, private = _opened(self.wrapping, Key.Kind.DEVICE_CA, project)
        return Authority(certificate, private, above_pem=certificate)


@dataclass(frozen=True, slots=True)
class WorkerKeys:
    """What the worker can open. Each call raises NoKey or NotUnwrapped."""

    wrapping: WrappingKey

    def record_key(self, project: str) -> SigningKey:
        """Give the key that signs receipts and the console's records."""
        return SigningKey.from_raw(_opened(self.wrapping, Key.Kind.RECORD, project)[1])

    def control(self, project: str) -> Issued:
        """Give the client certificate, with its key, that the project's relays know."""
        return Issued(*_opened(self.wrapping, Key.Kind.CONTROL, project))
