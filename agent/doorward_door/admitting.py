"""Who gets in: one user, by a key that the grant names now, in as few tries as sshd gives.

paramiko hangs up on a client that offers a kind of key that it does not know (a hardware token's, say), before that client
comes to the right one; here such a key is only a wrong one.
"""

import base64
import binascii
import syslog
from typing import Final

from paramiko import Message, PKey
from paramiko.auth_handler import AuthHandler
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL
from paramiko.ssh_exception import SSHException

from doorward_door.settings import DoorSettings

MOST_TRIES: Final = 6
"""sshd's MaxAuthTries; asking which methods there are ("none") is no try."""


def is_admitted(settings: DoorSettings, username: str, key: PKey) -> bool:
    """Tell whether ``key`` may log in as ``username``; a certificate is none of the grant's keys, whosever it is."""
    if username != settings.login_user or type(key) is PKey or key.public_blob is not None:
        return False
    try:
        lines = settings.authorized_keys()
    except OSError:
        return False
    return key.asbytes() in keys_from_lines(lines) and not settings.is_end_reached()


def keys_from_lines(lines: str) -> frozenset[bytes]:
    """Read ``type base64 comment`` lines; one that begins with options names no key (the runner refuses them, too)."""
    return frozenset(blob for line in lines.splitlines() if (blob := _blob(line)) is not None)


def _blob(line: str) -> bytes | None:
    words = line.split()
    if len(words) < 2:
        return None
    try:
        blob = base64.b64decode(words[1], validate=True)
        kind = Message(blob).get_text()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return blob if kind == words[0] else None


class DoorAuthHandler(AuthHandler):
    """paramiko's, which counts tries and outlives unknown keys."""

    tries = 0

    def _generate_key_from_request(self, algorithm: str, keyblob: bytes) -> PKey:
        try:
            key: PKey | None = super()._generate_key_from_request(algorithm, keyblob)  # type: ignore[misc]
        except (SSHException, ValueError, KeyError, IndexError):  # mangled, or of a kind that is not built in
            key = None
        return PKey() if key is None else key

    def _parse_userauth_info_response(self, message: Message) -> None:
        """Hang up: nobody was asked anything (RFC 4256), and paramiko counts for hours up to whatever number of answers a stranger names."""
        del message
        raise SSHException("an answer that nobody asked for")

    def _send_auth_result(self, username: str, method: str, result: int) -> None:
        if result == AUTH_FAILED and method != "none":
            self.tries += 1
            if self.tries >= MOST_TRIES:
                self._disconnect_no_more_auth()  # type: ignore[attr-defined]
                return
        if result == AUTH_SUCCESSFUL:
            syslog.syslog(syslog.LOG_AUTH | syslog.LOG_INFO, f"doorward-door: accepted {method} for {username}")
        super()._send_auth_result(username, method, result)  # type: ignore[misc]
