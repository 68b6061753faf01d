"""Tunnel certificates before a real sshd: the session's principal lets in, and nothing else does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from doorward_console.keys.ssh import SshAuthority
from doorward_console.keys.wrapping import NotUnwrapped, WrappingKey
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.files import write_whole
from tests.parts.processes import Programs, run
from tests.parts.sshd import Sshd, make_ssh_key, start_sshd

SESSION, DEVICE = "s-aaaaaaaaaaaaaaaa", "d-aaaaaaaaaaaaaaaa"


@dataclass(frozen=True)
class Gate:
    """An sshd that trusts a tunnel CA for one session, and a device's key."""

    sshd: Sshd
    folder: Path
    authority: SshAuthority
    line: str

    def exit_code(self, certificate: str) -> int:
        """Ask for a remote forward with ``certificate`` and give ssh's exit code: 0 granted, 255 refused."""
        write_whole(self.folder / "given-cert.pub", certificate + "\n")
        write_whole(self.folder / "known_hosts", self.sshd.known_hosts())
        done = run([
            "/usr/bin/ssh", "-F", "none", "-i", self.folder / "tunnel", "-p", str(self.sshd.port),
            "-o", f"CertificateFile={self.folder}/given-cert.pub", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "ExitOnForwardFailure=yes",
            "-R", "0:127.0.0.1:9", "root@127.0.0.1", "true",
        ])  # fmt: skip
        return done.returncode


@pytest.fixture
def gate(scratch: Path, programs: Programs) -> Gate:
    authority = SshAuthority.generate()
    write_whole(scratch / "tunnel_ca.pub", authority.public_line + "\n")
    write_whole(scratch / "principals", f"{SESSION}\n")
    options = (f"TrustedUserCAKeys {scratch}/tunnel_ca.pub", f"AuthorizedPrincipalsFile {scratch}/principals")
    line = make_ssh_key(scratch / "tunnel")
    return Gate(start_sshd(programs, scratch / "sshd", (), options), scratch, authority, line)


def now() -> datetime:
    return datetime.now(timezone.utc)


def good(gate: Gate) -> str:
    return gate.authority.tunnel_certificate(
        gate.line, device=DEVICE, principals=[SESSION], now=now(), ends_at=now() + timedelta(hours=1)
    )


def other_session(gate: Gate) -> str:
    return gate.authority.tunnel_certificate(
        gate.line, device=DEVICE, principals=["s-bbbbbbbbbbbbbbbb"], now=now(), ends_at=now() + timedelta(hours=1)
    )


def ended(gate: Gate) -> str:
    return gate.authority.tunnel_certificate(
        gate.line, device=DEVICE, principals=[SESSION], now=now(), ends_at=now() - timedelta(seconds=2)
    )


def not_yet(gate: Gate) -> str:
    later = now() + timedelta(minutes=6)
    return gate.authority.tunnel_certificate(
        gate.line, device=DEVICE, principals=[SESSION], now=later, ends_at=later + timedelta(hours=1)
    )


def other_authority(gate: Gate) -> str:
    return SshAuthority.generate().tunnel_certificate(
        gate.line, device=DEVICE, principals=[SESSION], now=now(), ends_at=now() + timedelta(hours=1)
    )


def host_type(gate: Gate) -> str:
    return gate.authority.host_certificate(gate.line, device=SESSION)


@pytest.mark.real("root", "ssh", "sshd")
@pytest.mark.parametrize(
    ("make", "code"),
    [(good, 0), (other_session, 255), (ended, 255), (not_yet, 255), (other_authority, 255), (host_type, 255)],
)
def test_tunnel_certificate_when_shown_to_sshd_then_only_the_sessions_own_gets_a_forward(
    gate: Gate, make: Callable[[Gate], str], code: int
) -> None:
    """sshd grants a forward to the session's certificate within its time, and refuses every other one."""
    assert gate.exit_code(make(gate)) == code


def test_tunnel_certificate_when_it_would_name_nobody_then_it_is_not_made() -> None:
    """A certificate without a principal, which some servers take for everybody's, is never signed."""
    authority, other = SshAuthority.generate(), SshAuthority.generate()
    with pytest.raises(ValueError, match="at least one principal"):
        authority.tunnel_certificate(
            other.public_line, device=DEVICE, principals=[], now=now(), ends_at=now() + timedelta(hours=1)
        )


@given(st.binary(max_size=200), st.text(max_size=30), st.text(max_size=30))
def test_wrapped_key_when_opened_then_only_under_its_name_with_its_key(private: bytes, name: str, other: str) -> None:
    """Wrapping round-trips; another key, another name or a changed byte opens nothing."""
    key = WrappingKey(b"k" * 32)
    wrapped = key.wrap(name, private)
    assert key.unwrap(name, wrapped) == private
    attempts = [(WrappingKey(b"j" * 32), name, wrapped), (key, name, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))]
    attempts += [(key, name, wrapped[:11]), *([(key, other, wrapped)] if other != name else [])]
    for with_key, under, what in attempts:
        with pytest.raises(NotUnwrapped):
            with_key.unwrap(under, what)
