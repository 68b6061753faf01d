"""The unix socket on which the embedded relay tells ``status`` who is connected; nobody but its own user can ask."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from doorward_relay.contracts import Connections
from doorward_relay.view import Listener, Tunnel, View

_LIMIT_S: Final = 5.0
_LONGEST: Final = 16 * 1024 * 1024


async def serve_status(path: Path, connections: Connections) -> asyncio.Server:
    """Answer each connection with one line."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.TimeoutError):
            writer.write(json.dumps(_document(connections)).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), _LIMIT_S)
        writer.close()

    return await asyncio.start_unix_server(tell, sock=_listening(path))


def ask_status(path: Path) -> tuple[bool, View] | None:
    """Give whether devices are listened for, and who is connected; None when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, _short(path) as short:
            asking.settimeout(_LIMIT_S)
            asking.connect(short)
            with asking.makefile("rb") as answers:
                said = json.loads(answers.readline(_LONGEST))
    except (OSError, ValueError):
        return None
    return bool(said["serving"]), _view(said["tunnels"])


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _short(path) as short:
            listening.bind(short)
    finally:
        os.umask(before)
    return listening


def _document(connections: Connections) -> dict[str, Any]:
    tunnels = connections.look().tunnels
    return {
        "serving": connections.is_serving(),
        "tunnels": [
            {
                "number": one.number,
                "peer": one.peer,
                "peer_port": one.peer_port,
                "listeners": [[each.address, each.port, each.number] for each in one.listeners],
            }
            for one in tunnels
        ],
    }


def _view(said: list[dict[str, Any]]) -> View:
    tunnels = tuple(_tunnel(one) for one in said)
    return View(tunnels, tuple(each for one in tunnels for each in one.listeners), ())


def _tunnel(said: dict[str, Any]) -> Tunnel:
    listeners = tuple(Listener(address, port, is_devices=True, number=n) for address, port, n in said["listeners"])
    return Tunnel((said["number"],), said["peer"], said["peer_port"], said["number"], listeners)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its folder's descriptor: a unix socket's name has 107 bytes (unix(7)), a trial's folder may have more."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
