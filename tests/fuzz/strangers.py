"""What a stranger may say to an SSH server once keys are exchanged and before he is anybody: RFC 4252, section 5, kept and broken."""

import logging
import socket
import struct
from contextlib import suppress
from typing import Final

import paramiko
from hypothesis import strategies as st

from tests.fuzz.handshakes import name_list

_SERVICE_REQUEST: Final = 5
_USERAUTH_REQUEST: Final = 50
_LIMIT_S: Final = 5.0
_BLOB: Final = name_list(b"ssh-ed25519") + name_list(b"\x20" * 32)
ASKS_FOR_LOG_IN: Final = bytes([_SERVICE_REQUEST]) + name_list(b"ssh-userauth")

words = st.binary(max_size=60) | st.sampled_from(
    [b"ssh-connection", b"ssh-ed25519", b"ssh-ed25519-cert-v01@openssh.com", b"sk-ssh-ed25519@openssh.com", b"rsa-sha2-256", _BLOB]
)  # fmt: skip
methods = st.sampled_from([b"none", b"publickey", b"password", b"keyboard-interactive", b"hostbased"]) | words


def _log_in(user: bytes, service: bytes, method: bytes, rest: list[bytes]) -> bytes:
    named = b"".join(map(name_list, (user, service, method)))
    return bytes([_USERAUTH_REQUEST]) + named + b"\1" + b"".join(map(name_list, rest))


def conversations_as(user: str) -> st.SearchStrategy[list[bytes]]:
    """Give messages of somebody who knows the user's name: log-ins, and what only comes later; half of them ask for that service first, as one has to."""
    keys = st.lists(words, min_size=2, max_size=3)
    offers = keys.map(lambda rest: _log_in(user.encode(), b"ssh-connection", b"publickey", rest))
    log_ins = st.builds(_log_in, st.just(user.encode()) | words, words, methods, st.lists(words, max_size=4))
    anything = st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 255), st.binary(max_size=80))
    counts = st.builds(
        lambda kind, many: struct.pack(">BI", kind, many),
        st.sampled_from([7, 60, 61]),
        st.just(2**32 - 1) | st.integers(0, 2**32 - 1),
    )
    said = st.lists(offers | log_ins | counts | anything, max_size=6)
    return said | said.map(lambda one: [ASKS_FOR_LOG_IN, *one])


def talk(port: int, messages: list[bytes]) -> bool:
    """Exchange keys, say it all, and hang up once the server has; tells whether keys were exchanged.

    Raises:
        AssertionError: the server let the stranger in.
    """
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what a stranger thinks of being hung up on
    with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as stream:
        stranger = paramiko.Transport(stream)
        try:
            stranger.start_client(timeout=_LIMIT_S)
            with suppress(EOFError, OSError):
                for one in messages:
                    stranger._send_message(paramiko.Message(one))  # type: ignore[attr-defined]  # no client says such things
                stream.shutdown(socket.SHUT_WR)
            stranger.join(_LIMIT_S)
            assert not stranger.is_authenticated()
        except (paramiko.SSHException, EOFError):
            return False
        finally:
            stranger.close()
    return True
