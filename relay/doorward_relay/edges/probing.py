"""Ask a door to show its banner, through the address and port that an engineer will use."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

_LIMIT_S: Final = 5.0
_SIX: Final = 6
_LONGEST: Final = 4096
"""RFC 4253, section 4.2: lines may come before the version; a kilobyte or so is plenty."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found; ``code`` is None when this session's door answered."""

    code: str | None
    ms: int
    banner: str | None

    @property
    def is_open(self) -> bool:
        return self.code is None

    @property
    def is_silent(self) -> bool:
        """Whether the port took the connection and nothing came of it."""
        return self.code == "probe.silent"


async def probe(host: str, port: int, token: str, dialling: Callable[[str, int], None]) -> Probed:
    """Connect, read the SSH version line, and compare; ``dialling`` hears our own address before anything is sent."""
    began = time.monotonic()
    try:
        code, banner = await asyncio.wait_for(_ask(host, port, token, dialling), _LIMIT_S)
    except asyncio.TimeoutError:
        code, banner = "probe.silent", None
    except (OSError, UnicodeError):  # UnicodeError: a name that IDNA cannot encode
        code, banner = "probe.refused", None
    return Probed(code, round((time.monotonic() - began) * 1000), banner)


async def _ask(host: str, port: int, token: str, dialling: Callable[[str, int], None]) -> tuple[str | None, str | None]:
    connected = await _connected(host, port, dialling)
    reader, writer = await asyncio.open_connection(sock=connected, limit=_LONGEST)
    try:
        banner = await _version_line(reader)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if banner is None:
        return "probe.silent", None
    return (None if f"doorward-{token}" in banner.split(" ") else "probe.other-banner"), banner


async def _connected(host: str, port: int, dialling: Callable[[str, int], None]) -> socket.socket:
    """Connect to the first of the host's addresses that answers; on loopback nobody sees the socket before us."""
    loop = asyncio.get_running_loop()
    refused: OSError = ConnectionRefusedError()
    for family, address in await _addresses(host, port):
        dialled = socket.socket(family, socket.SOCK_STREAM)
        dialled.setblocking(False)
        try:
            await loop.sock_connect(dialled, address)
        except OSError as error:
            dialled.close()
            refused = error
            continue
        own = dialled.getsockname()
        dialling(str(own[0]), int(own[1]))
        return dialled
    raise refused


async def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Give a host's addresses; one that is an address already costs no thread, as asyncio's look-up of a name does."""
    with suppress(ValueError):
        return [(socket.AF_INET6 if ip_address(host).version == _SIX else socket.AF_INET, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def _version_line(reader: asyncio.StreamReader) -> str | None:
    """Read up to the line that begins with ``SSH-``, or None when the connection ends before."""
    for _ in range(20):
        try:
            raw = await reader.readline()
        except (ValueError, ConnectionError):
            return None
        if not raw:
            return None
        line = raw.decode("utf-8", "replace").strip()
        if line.startswith("SSH-"):
            return line[:255]
    return None
