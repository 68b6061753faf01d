"""A device's MQTT connection (3.1.1, TLS, QoS 1) as small as it can be, so that one process can hold hundreds.

paho has a thread for each client. What is left out (wills, pings, QoS 2) costs the broker and the console nothing here.
"""

import asyncio
import itertools
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE = 0x10, 0x30, 0x40, 0x82
_QOS_1: Final = 0x02
_RETAIN: Final = 0x01


@dataclass(slots=True)
class Link:
    """One connection; ``heard`` takes topic and payload of each message."""

    heard: Callable[[str, bytes], None]
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _waiting: dict[int, "asyncio.Future[None]"] = field(default_factory=dict)

    async def connect(self, host: str, port: int, context: ssl.SSLContext, name: str, topics: list[str]) -> None:
        """Connect and subscribe; raises OSError."""
        self._reader, self._writer = await asyncio.open_connection(host, port, ssl=context)
        self._send(_CONNECT, _text("MQTT") + bytes([4, 2]) + struct.pack("!H", 0) + _text(name))
        kind, answer = await self._packet()
        if kind >> 4 != 2 or answer[1] != 0:
            raise ConnectionError(f"refused: {answer!r}")
        filters = b"".join(_text(one) + b"\x01" for one in topics)
        self._send(_SUBSCRIBE, struct.pack("!H", next(self._ids)) + filters)

    async def follow(self) -> None:
        """Hand over what comes until the connection breaks; raises OSError."""
        try:
            while True:
                self._take(*await self._packet())
        except (EOFError, ssl.SSLError) as error:
            raise ConnectionError from error
        finally:
            self._over()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send, and wait until the broker has it; raises OSError."""
        if self._writer is None:
            raise ConnectionError
        number = next(self._ids) % 65_535 + 1
        done = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(_PUBLISH | _QOS_1 | (_RETAIN if retain else 0), _text(topic) + struct.pack("!H", number) + payload)
        await done

    def _take(self, kind: int, body: bytes) -> None:
        if kind & 0xF0 == _PUBACK and (waiting := self._waiting.pop(struct.unpack("!H", body)[0], None)):
            waiting.set_result(None)
        if kind & 0xF0 == _PUBLISH:
            size = struct.unpack_from("!H", body)[0]
            self._send(_PUBACK, body[2 + size : 4 + size])
            self.heard(body[2 : 2 + size].decode(), body[4 + size :])

    async def _packet(self) -> tuple[int, bytes]:
        assert self._reader is not None
        kind, size, shift = (await self._reader.readexactly(1))[0], 0, 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return kind, await self._reader.readexactly(size)

    def _send(self, kind: int, body: bytes) -> None:
        size, length = len(body), bytearray()
        while True:
            size, byte = size >> 7, size & 0x7F
            length.append(byte | (0x80 if size else 0))
            if not size:
                break
        if self._writer is not None:
            self._writer.write(bytes([kind]) + bytes(length) + body)

    def _over(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for one in self._waiting.values():
            one.set_exception(ConnectionError())
        self._waiting.clear()


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw
