"""The SSH connection to a relay on paramiko: pinned host key, certificate, forwards, signs of life.

Tuned where paramiko is slow by default, and guarded where it trusts the other side; each place says which.
"""

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from doorward_agent.edges.carrying import Carrier

FIRST_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""paramiko offers them last; they carry twice what AES-CTR does."""
FIRST_KEX: Final = "curve25519-sha256@libssh.org"
"""The post-quantum exchange costs a small device 100 ms; see ``ssh_command``."""
REKEY_BYTES: Final = 1 << 36
"""Renewing keys is left to the relay; OpenSSH's own limit for AES is this one. paramiko would begin after 512 MiB, and its
transport thread, told of a closed channel meanwhile, waits for the very exchange that it has to finish, and gives up."""
MISSED: Final = 3
"""So many signs of life in a row without an answer, and the relay counts as dead."""
HELLO_LIMIT_S: Final = 8.0
MAX_HELLO_BYTES: Final = 4096


class NotDialled(Exception):
    """The relay did not admit us.

    Attributes:
        code: None where no SSH server was met.
        host_key_at: when it had shown a pinned host key, if it had.
    """

    def __init__(self, code: str | None, error: Exception, host_key_at: float | None = None) -> None:
        super().__init__(f"{code or 'not reached'}: {type(error).__name__}: {error}")
        self.code = code
        self.host_key_at = host_key_at


class EagerSocket(socket.socket):
    """A socket that acknowledges what it receives at once, and remembers when that was."""

    heard_s: float

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive; the kernel forgets TCP_QUICKACK, and a delayed acknowledgement costs each question 44 ms."""
        came = super().recv(size, flags)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.heard_s = time.monotonic()
        return came


class RelayTransport(paramiko.Transport):
    """paramiko's, which counts nothing that a relay only says to have."""

    def _parse_ext_info(self, msg: paramiko.Message) -> None:
        """Leave a relay's extensions unread: they are for RSA keys, and paramiko believes how many they are said to be."""


def dialled(order: Mapping[str, Any]) -> "Link":
    """Log in over the connection that ``paramiko_dialer`` gives, by what it sends; raises NotDialled."""
    wire = _eager(order["link"])
    transport = _tuned(wire, order["limit_s"])
    _shake_hands(transport, order["host_keys"])
    host_key_at = time.monotonic()
    _log_in(transport, order, host_key_at)
    return Link(transport, wire, order["alive_s"], host_key_at)


def _eager(descriptor: int) -> EagerSocket:
    wire = EagerSocket(fileno=descriptor)
    wire.heard_s = time.monotonic()
    return wire


def _tuned(wire: EagerSocket, limit_s: float) -> paramiko.Transport:
    transport = RelayTransport(wire)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limit_s
    transport.packetizer.REKEY_BYTES = REKEY_BYTES
    options = transport.get_security_options()
    options.ciphers = (*FIRST_CIPHERS, *(name for name in options.ciphers if name not in FIRST_CIPHERS))
    options.kex = (FIRST_KEX, *(name for name in options.kex if name != FIRST_KEX))
    return transport


def _shake_hands(transport: paramiko.Transport, pins: Sequence[str]) -> None:
    """Exchange keys with a relay that has a pinned host key; nothing of ours is shown to another."""
    try:
        transport.get_security_options().key_types = tuple(
            dict.fromkeys(name for pin in pins for name in _algorithms(pin))
        )
        transport.start_client()
        shown = transport.get_remote_server_key().asbytes()
        is_pinned = any(base64.b64decode(pin.split(" ")[1]) == shown for pin in pins)
    except (IncompatiblePeer, ValueError) as error:
        raise NotDialled("tunnel.host-key", error) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise NotDialled("tunnel.lost" if transport.remote_version else None, error) from None
    if not is_pinned:
        transport.close()
        raise NotDialled("tunnel.host-key", ValueError("another host key"))


def _algorithms(pin: str) -> Sequence[str]:
    """Name the signature algorithms of a key's type; an RSA key signs with SHA-2 only."""
    kind = pin.split(" ", maxsplit=1)[0]
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)


def _log_in(transport: paramiko.Transport, order: Mapping[str, Any], host_key_at: float) -> None:
    try:
        key = paramiko.Ed25519Key.from_private_key_file(order["key"])
        key.load_certificate(order["certificate"])
        transport.auth_publickey(order["user"], key)
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        raise NotDialled("tunnel.not-admitted", error, host_key_at) from None
    if not transport.is_authenticated():
        raise NotDialled("tunnel.not-admitted", PermissionError("one key is not enough"), host_key_at)


class Link:
    """A connection that the relay admitted."""

    def __init__(self, transport: paramiko.Transport, wire: EagerSocket, alive_s: float, host_key_at: float) -> None:
        self.host_key_at = host_key_at
        self._transport = transport
        self._wire = wire
        self._alive_s = alive_s
        # paramiko keeps one answer for all global requests: two at a time would take each other's.
        self._asking = threading.Lock()
        self._carrier = Carrier(transport)

    def forward(self, bind: str, port: int, place: tuple[str, int]) -> bool:
        """Ask the relay to listen on ``port``, and carry what comes there to ``place``."""
        self._carrier.places[port] = place
        # request_port_forward sets this after the relay's answer: who connects at once, as the relay's probe does, is refused.
        self._transport._tcp_handler = self._carrier.take  # type: ignore[attr-defined]  # noqa: SLF001  see above
        with self._asking:
            return self._transport.global_request("tcpip-forward", (bind, port), wait=True) is not None

    def hello(self) -> str:
        """Ask the relay why; empty where it does not say."""
        try:
            with self._transport.open_session(timeout=HELLO_LIMIT_S) as channel:
                channel.settimeout(HELLO_LIMIT_S)
                channel.exec_command("hello")
                with channel.makefile("rb") as said:
                    return said.read(MAX_HELLO_BYTES).decode(errors="replace")
        except (paramiko.SSHException, OSError):
            return ""

    def keep(self) -> None:
        """Return when the connection has ended, or when the relay was silent for too long."""
        threading.Thread(target=self._ask_for_life, name="signs of life", daemon=True).start()
        while self._transport.is_alive() and self._silent_s() <= MISSED * self._alive_s:
            self._transport.join(self._alive_s / 4)

    def close(self) -> None:
        self._transport.close()

    def _silent_s(self) -> float:
        return time.monotonic() - self._wire.heard_s

    def _ask_for_life(self) -> None:
        """Ask something that any relay answers whenever nothing came for a while."""
        while self._transport.is_alive():
            self._transport.join(max(0.1, self._alive_s - self._silent_s()))
            if self._silent_s() >= self._alive_s:
                with self._asking, contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    self._transport.global_request("keepalive@openssh.com", wait=True)
