"""What amqtt reads from one connection, within limits that it does not keep itself: of size, of silence, of QoS."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from amqtt.errors import NoDataError
from doorward_protocol.envelope import MAX_BYTES

LARGEST: Final = 4 * MAX_BYTES
"""As Mosquitto's ``max_packet_size`` in broker-config."""
_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04


class Frames:
    """Follows where packets begin (MQTT 3.1.1, section 2.2) in what is read piece by piece."""

    def __init__(self) -> None:
        """Begin at a packet's first byte."""
        self._left = 0
        self._shift: int | None = None

    def has(self, n: int) -> bool:
        """Tell whether ``n`` bytes are left of this packet; its type and length come one by one."""
        return 0 <= n <= (self._left if self._is_in_body else 1)

    def may_go_on(self, piece: bytes) -> bool:
        """Take the next piece; False where the packet is none of ours."""
        if self._is_in_body:
            self._left -= len(piece)
            return True
        return all(self._may_begin(byte) for byte in piece)

    @property
    def _is_in_body(self) -> bool:
        return self._shift is None and self._left > 0

    def _may_begin(self, byte: int) -> bool:
        if self._shift is None:
            self._left, self._shift = 0, 0
            return not (byte & 0xF0 == _PUBLISH and byte & _QOS_2)
        self._left += (byte & 0x7F) << self._shift
        self._shift = self._shift + 7 if byte & 0x80 else None
        return self._left <= LARGEST and self._shift != 28


class BoundedReader:
    """amqtt's ReaderAdapter on one connection, with the limits that amqtt does not keep.

    Gives ``first`` before what comes from the network. Cuts a connection whose next packet would be too large or is of QoS 2,
    for amqtt keeps what a client never finishes to say and we say nothing that way; and one that has said nothing for one and a half times its keep-alive (MQTT 3.1.1, section 3.1.2.10): its Last Will is due then.
    """

    def __init__(
        self, reader: asyncio.StreamReader, cut: Callable[[], None], first: bytes = b"", keep_alive_s: int = 0
    ) -> None:
        self._reader, self._cut, self._first = reader, cut, first
        self._silence_s = 1.5 * keep_alive_s or None
        self._heard_at = time.monotonic()
        self._frames = Frames()

    async def read(self, n: int = -1) -> bytes:
        if self._frames.has(n) and self._frames.may_go_on(given := await self._given(n)):
            return given
        self._cut()
        raise NoDataError("a packet that has no place here")

    async def _given(self, n: int) -> bytes:
        if self._first:
            given, self._first = self._first[:n], self._first[n:]
            return given
        try:
            given = await asyncio.wait_for(self._reader.readexactly(n), self._patience_s())
        except asyncio.TimeoutError:
            self._cut()
            raise NoDataError("silence") from None
        self._heard_at = time.monotonic()
        return given

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def _patience_s(self) -> float | None:
        """Give the time that is left; amqtt begins a read anew whenever the keep-alive itself is over."""
        return None if self._silence_s is None else max(0.0, self._heard_at + self._silence_s - time.monotonic())
