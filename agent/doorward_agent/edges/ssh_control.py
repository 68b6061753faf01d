"""Asking a running ``ssh`` master for a forward over its control socket (OpenSSH's PROTOCOL.mux, version 4).

``ssh -O forward`` says the same two packets, after a start that costs a small device more than all the rest of it.
"""

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from doorward_protocol.orders import Forward
from doorward_protocol.targets import Target

VERSION: Final = 4
_HELLO: Final = 0x00000001
_OPEN_FORWARD: Final = 0x10000006
_REMOTE: Final = 2
_OK: Final = 0x80000001
LOOK_S: Final = 0.004
MOST_ANSWER_BYTES: Final = 65_536
"""A refusal is a sentence; whoever says more is no master."""


def is_granted(
    folder: Path, control: str, forward: Forward, place: Target, limit_s: float, meanwhile: Callable[[], None]
) -> bool:
    """Ask the master behind ``folder / control`` for one remote forward; False also where it is gone, or does not answer within the limit.

    ``meanwhile`` is called every ``LOOK_S`` while the answer is waited for.
    """
    asked = struct.pack(">III", _OPEN_FORWARD, 0, _REMOTE)
    asked += _text(forward.bind) + struct.pack(">I", forward.port) + _text(place.host) + struct.pack(">I", place.port)
    try:
        with _connected(folder, control, limit_s) as master:
            _say(master, struct.pack(">II", _HELLO, VERSION))
            if struct.unpack_from(">II", _heard(master)) != (_HELLO, VERSION):
                return False
            _say(master, asked)
            _wait(master, limit_s, meanwhile)
            return bool(struct.unpack_from(">I", _heard(master))[0] == _OK)
    except (OSError, struct.error):
        return False


def _connected(folder: Path, control: str, limit_s: float) -> socket.socket:
    """Connect by way of the folder's descriptor, for a socket's name is short and a folder's may be long."""
    master = socket.socket(socket.AF_UNIX)
    try:
        master.settimeout(limit_s)
        held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            master.connect(f"/proc/self/fd/{held}/{control}")
        finally:
            os.close(held)
    except OSError:
        master.close()
        raise
    return master


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw


def _say(master: socket.socket, packet: bytes) -> None:
    master.sendall(struct.pack(">I", len(packet)) + packet)


def _wait(master: socket.socket, limit_s: float, meanwhile: Callable[[], None]) -> None:
    """Wait until there is something to read; raises TimeoutError."""
    ends_at = time.monotonic() + limit_s
    while not select.select([master], [], [], LOOK_S)[0]:
        if time.monotonic() >= ends_at:
            raise TimeoutError("the master is silent")
        meanwhile()


def _heard(master: socket.socket) -> bytes:
    """Read one packet; raises OSError where the master ends before it, or says more than any does."""
    size = struct.unpack(">I", _exactly(master, 4))[0]
    if size > MOST_ANSWER_BYTES:
        raise OSError("not a master's answer")
    return _exactly(master, size)


def _exactly(master: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = master.recv(size - len(found))
        if not piece:
            raise OSError("the master has ended")
        found += piece
    return found
