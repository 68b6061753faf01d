"""The unix socket on which a device's connection says hello; who it is comes from the kernel (unix(7), SO_PEERCRED)."""

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from doorward_protocol.ids import SessionId, is_id
from doorward_protocol.reasons import reason_of

_LIMIT_S: Final = 5.0
_LOG: Final = logging.getLogger("doorward.relay")

Answer = Callable[[int, SessionId], Awaitable[str]]
"""From the caller's pid and its session to a reason code."""


async def serve_hello(path: Path, uid: int, gid: int, answer: Answer) -> asyncio.Server:
    """Listen for the tunnel user (and root) alone."""
    listening = _listening(path, gid)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            session = await _session(reader)
            if session is None:
                return
            code = await _code(session, writer, uid, answer)
            line = json.dumps({"code": code, "next": reason_of(code).next})
            writer.write(line.encode() + b"\n")
            await asyncio.wait_for(writer.drain(), _LIMIT_S)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            _LOG.warning("hello.broken error=%s", type(error).__name__)
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, sock=listening, limit=256)


def _listening(path: Path, gid: int) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o777)  # nobody may connect before owner and mode are right
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    os.chown(path, 0, gid)
    path.chmod(0o660)
    return listening


async def _session(reader: asyncio.StreamReader) -> str | None:
    """Read what was asked for; None from ``status``, which only sees whether anybody listens, and is gone."""
    line = await asyncio.wait_for(reader.readline(), _LIMIT_S)
    return line.decode("ascii", "replace").strip() if line else None


async def _code(session: str, writer: asyncio.StreamWriter, uid: int, answer: Answer) -> str:
    pid, peer_uid = _peer(writer.get_extra_info("socket"))
    if peer_uid != uid or not is_id("s", session):
        return "relay.grant-ended"
    return await answer(pid, SessionId(session))


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Read pid and uid of whoever connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return int(pid), int(uid)
