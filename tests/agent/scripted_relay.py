"""A relay in the tests' hands, on paramiko's server side: it does what OpenSSH's never would."""

import io
import socket
import threading
from contextlib import suppress

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import AUTH_SUCCESSFUL, cMSG_CHANNEL_OPEN

from tests.agent.scripted import private_pem, ssh_line


class ScriptedRelay(paramiko.ServerInterface):
    """Serves one connection, admits anybody, and grants every forward without listening for it."""

    def __init__(self, *, is_hasty: bool = False, is_boastful: bool = False) -> None:
        """Listen; a hasty relay has a visitor before it grants a forward, a boastful one says that it has billions of extensions."""
        key = Ed25519PrivateKey.generate()
        self.host_key = ssh_line(key)
        self.granted = threading.Event()
        self._granted_port = 0
        self._key = paramiko.Ed25519Key.from_private_key(io.StringIO(private_pem(key).decode()))
        self._is_hasty, self._is_boastful = is_hasty, is_boastful
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.transport: paramiko.Transport | None = None
        threading.Thread(target=self._serve, name="scripted relay", daemon=True).start()

    def _serve(self) -> None:
        self.transport = paramiko.Transport(self._listening.accept()[0])
        self.transport.add_server_key(self._key)
        self.transport.start_server(server=self)

    def close(self) -> None:
        self._listening.close()
        if self.transport is not None:
            self.transport.close()

    def flood(self, size: int) -> None:
        """Send as much to the door as if its window had no end, until nobody takes it."""
        assert self.transport is not None
        channel = self.transport.open_forwarded_tcpip_channel(("127.0.0.1", 1), ("127.0.0.1", self._granted_port))
        channel.out_window_size = 1 << 40  # what the device said is forgotten
        with suppress(OSError, EOFError, paramiko.SSHException):
            for _ in range(size // 32_768):
                channel.sendall(bytes(32_768))

    # What paramiko asks a server

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002  as paramiko calls it
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002  as paramiko calls it
        if self._is_boastful:
            assert self.transport is not None
            self.transport._send_message(paramiko.Message(b"\x07" + b"\xff" * 4))  # type: ignore[attr-defined]
        return AUTH_SUCCESSFUL

    def check_port_forward_request(self, address: str, port: int) -> int:  # noqa: ARG002  as paramiko calls it
        if self._is_hasty:
            self._open_a_channel(port)
        self._granted_port = port
        self.granted.set()
        return port

    def _open_a_channel(self, port: int) -> None:
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string("forwarded-tcpip")
        for number in (77, 1 << 21, 32_768):  # our channel, its window, its largest packet
            message.add_int(number)
        for host, origin in (("", port), ("192.0.2.7", 4711)):
            message.add_string(host)
            message.add_int(origin)
        assert self.transport is not None
        self.transport._send_message(message)  # type: ignore[attr-defined]
