"""paramiko's transport with limits: on what a stranger may say, on what a client may have under way, and on its silence.

paramiko trusts its peer: a version line without end, a packet of 4 GiB and data beyond the window are all read into memory. Each
of the three ends the connection here.
"""

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from paramiko import Channel, Ed25519Key, Message, ServerInterface, Transport
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from doorward_door.admitting import DoorAuthHandler

MOST_VERSION_BYTES: Final = 1024
"""A client's first line is its version, of 255 bytes at most (RFC 4253 §4.2); reads come in pieces of 128."""
MOST_PACKET_BYTES: Final = 262_144
"""As OpenSSH; what a client sends in one packet is 32 KiB by our own announcement."""
WINDOW_BYTES: Final = 2 * 1024 * 1024
"""Per channel and direction: fills 160 Mbit/s at 100 ms, and is what a client can make us hold."""
KEEPALIVE_S: Final = 30
DEAD_AFTER_S: Final = 120
"""Three answers missed, as with the private sshd."""
_GCM: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_CTR: Final = ("aes128-ctr", "aes192-ctr", "aes256-ctr")

AfterRequest = Callable[[Channel], None]


def _nothing(_channel: Channel) -> None:
    return


def _feed(channel: Any, message: Message, feed: Callable[[Any, Message], None]) -> None:
    """Take a channel's data while it keeps to the window that it was given."""
    if max(len(channel.in_buffer), len(channel.in_stderr_buffer)) > WINDOW_BYTES:
        raise SSHException("more data than the window allows")
    feed(channel, message)


def _answer(channel: Any, message: Message) -> None:
    """Answer a channel's request, and only then let flow what it started: data before the answer confuses clients."""
    try:
        channel._handle_request(message)  # noqa: SLF001 - the table names paramiko's own
    finally:  # also where the answer's reader is gone: what was started has to hear of it
        channel.get_transport().after_request(channel)


class BoundedPacketizer(Packetizer):
    """Reads no more than an honest client says, and notes when it last said something."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream)
        self._stream = stream
        self._version_bytes = 0
        self._skips_next = False
        self.heard_at = time.monotonic()

    def skip_next(self) -> None:
        """Leave the next message unread: it rests on a wrong guess (RFC 4253 §7)."""
        self._skips_next = True

    def start_handshake(self, timeout: float) -> None:
        """Start no clock: paramiko's is a thread, which outlives whoever hangs up by 15 s; the listener looks at everybody's time."""

    def read_message(self) -> tuple[int, Message]:
        found = super().read_message()
        if self._skips_next:
            self._skips_next = False
            found = super().read_message()
        return found

    def _read_timeout(self, timeout: float) -> bytes:
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._version_bytes += len(piece)
        if self._version_bytes > MOST_VERSION_BYTES:
            raise SSHException("the version line does not end")
        return piece

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        if n > MOST_PACKET_BYTES:
            raise SSHException("a packet larger than any client sends")
        found = super().read_all(n, check_rekey)
        self.heard_at = time.monotonic()
        # The kernel forgets this with each packet; without it a client's small packets wait 40 ms for our ACK.
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return found


class DoorTransport(Transport):
    """One client's connection.

    Attributes:
        live: the channels that are open, whose number is limited by whoever admits them.
    """

    def __init__(self, stream: socket.socket, keys: tuple[Ed25519Key, ...], banner: str) -> None:
        super().__init__(stream, default_window_size=WINDOW_BYTES, packetizer_class=BoundedPacketizer)
        self.stream = stream
        self.began_at = time.monotonic()
        self.live: dict[int, Channel] = {}
        self.after_request: AfterRequest = _nothing
        self.local_version = f"SSH-2.0-doorward doorward-{banner}"
        for key in keys:
            self.add_server_key(key)
        options = self.get_security_options()
        options.key_types = tuple(key.get_name() for key in keys)
        options.ciphers = _GCM + _CTR
        options.compression = ("none",)
        self.auth_handler = DoorAuthHandler(self)
        self.packetizer.set_keepalive(KEEPALIVE_S, self._keep_alive)

    def serve(self, server: ServerInterface, after_request: AfterRequest, started: Any) -> None:
        """Let the connection's thread run; ``started`` is set when keys are exchanged."""
        self.after_request = after_request
        self.start_server(event=started, server=server)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began_at

    @property
    def has_spoken(self) -> bool:
        """Tell whether a whole version line has come."""
        return bool(self.remote_version)

    @property
    def silent_s(self) -> float:
        return time.monotonic() - float(self.packetizer.heard_at)  # type: ignore[attr-defined]

    def hang_up(self) -> None:
        """End the connection from any thread, also while another waits in a write to it."""
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _keep_alive(self) -> None:
        """Ask for an answer, whatever it is; called by the connection's own thread when nothing was to be read."""
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)  # want_reply (RFC 4254 §4)
        self._send_message(message)  # type: ignore[attr-defined]

    def _check_banner(self) -> None:
        """Offer OpenSSH nothing but AES-GCM: it has it since 6.2 and prefers the CTR modes, which cost twice the time here."""
        super()._check_banner()  # type: ignore[misc]
        if "OpenSSH_" in self.remote_version:
            self.get_security_options().ciphers = _GCM

    def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = False) -> Mapping[str, Any]:  # noqa: FBT001, FBT002
        """Hear also of a guess that the client sends ahead, which paramiko takes for its real choice (dropbear makes one)."""
        said: Mapping[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        if not ignore_first_byte and said["kex_follows"]:
            ours = self._get_latest_kex_init()  # type: ignore[attr-defined]
            if any(said[what][:1] != ours[what][:1] for what in ("kex_algo_list", "server_key_algo_list")):
                self.packetizer.skip_next()  # type: ignore[attr-defined]
        return said

    def _parse_ext_info(self, msg: Message) -> None:
        """Leave a client's extensions unread: none is of use here, and paramiko believes how many they are said to be."""

    def _queue_incoming_channel(self, channel: Channel) -> None:
        self.live[channel.chanid] = channel

    def _unlink_channel(self, chanid: int) -> None:
        super()._unlink_channel(chanid)  # type: ignore[misc]
        self.live.pop(chanid, None)

    _kex_info: Mapping[str, Any] = {**Transport._kex_info, "curve25519-sha256": KexCurve25519}  # type: ignore[attr-defined]  # noqa: SLF001
    """Also under the name that it has as a standard (RFC 8731), and first: everybody knows it, and it costs least."""
    _preferred_kex: tuple[str, ...] = ("curve25519-sha256", *Transport._preferred_kex)  # type: ignore[attr-defined]  # noqa: SLF001

    _channel_handler_table: Mapping[int, Any] = {
        **Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001 - this is that class, refined
        MSG_CHANNEL_DATA: lambda channel, message: _feed(channel, message, Channel._feed),  # type: ignore[attr-defined]  # noqa: SLF001
        MSG_CHANNEL_EXTENDED_DATA: lambda channel, message: _feed(channel, message, Channel._feed_extended),  # type: ignore[attr-defined]  # noqa: SLF001
        MSG_CHANNEL_REQUEST: _answer,
    }
