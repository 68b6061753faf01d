"""Carrying what visitors send between a relay's channels and the door, or a named target, on paramiko.

Two threads for each visitor, one a direction: with ``select`` over all of them paramiko carries half as much. Nothing is
kept here but what is in a thread's hands; what waits, waits in the channel's window or in the kernel.
"""

import contextlib
import queue
import socket
import threading
from typing import Final

import paramiko

MAX_VISITORS: Final = 64
"""At once; more are turned away. An engineer's tools open a handful."""
WINDOW_BYTES: Final = 2 * 1024 * 1024
"""How much a relay may send ahead; less is slow over long ways, and from 8 MiB on sshd burns CPU on uploads."""
SMALL_WINDOW_BYTES: Final = 256 * 1024
MANY_VISITORS: Final = 8
"""From here on windows are small, so that all of them together stay under 30 MiB."""
PACKET_BYTES: Final = 32_768 - 64
"""What paramiko puts into one packet of 32 KiB."""
AT_ONCE_BYTES: Final = 8 * PACKET_BYTES
"""What is taken at once: with a packet each time the tunnel carries a tenth less from the device, and a third less to it."""
CONNECT_LIMIT_S: Final = 10.0
GONE_CHECK_S: Final = 0.5


class Carrier:
    """Takes channels from the transport's thread and connects each with what its port of the relay leads to.

    ``places`` says by the relay's port where that is: an address, the door's or a named target's.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self.places: dict[int, tuple[str, int]] = {}
        self._transport = transport
        self._transport.default_window_size = WINDOW_BYTES
        self._came: queue.SimpleQueue[tuple[paramiko.Channel, int]] = queue.SimpleQueue()
        self._visitors = 0
        self._counting = threading.Lock()
        threading.Thread(target=self._receive, name="visitors", daemon=True).start()

    def take(self, channel: paramiko.Channel, _visitor: tuple[str, int], at: tuple[str, int]) -> None:
        """Take a channel. Runs in the transport's own thread: whatever waited here would stall every other channel."""
        self._came.put((channel, at[1]))

    def _receive(self) -> None:
        while True:
            channel, port = self._came.get()
            place = self.places.get(port)
            if place is None or self._visitors >= MAX_VISITORS:
                channel.close()
                continue
            self._count(1)
            threading.Thread(target=self._carry, args=(channel, place), name="visitor", daemon=True).start()

    def _count(self, more: int) -> None:
        with self._counting:
            self._visitors += more
            # It counts for the channel that is opened next.
            self._transport.default_window_size = WINDOW_BYTES if self._visitors < MANY_VISITORS else SMALL_WINDOW_BYTES

    def _carry(self, channel: paramiko.Channel, place: tuple[str, int]) -> None:
        try:
            with channel, socket.create_connection(place, CONNECT_LIMIT_S) as door:
                door.settimeout(None)
                door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=_from_door, args=(door, channel), name="visitor back", daemon=True)
                back.start()
                _to_door(channel, door)
                _wait_for_the_end(back, channel, door)
        except OSError:
            pass  # the door is shut: the visitor sees the connection closed
        finally:
            self._count(-1)


def _to_door(channel: paramiko.Channel, door: socket.socket) -> None:
    """Carry one way until the visitor has said all, and pass that on; a door that is gone ends the other way, too."""
    with contextlib.suppress(OSError):
        while came := channel.recv(AT_ONCE_BYTES):
            door.sendall(came)
        door.shutdown(socket.SHUT_WR)


def _from_door(door: socket.socket, channel: paramiko.Channel) -> None:
    """Carry the other way until the door has said all, and pass that on; a reset ends the visitor's connection."""
    try:
        while came := door.recv(AT_ONCE_BYTES):
            for at in range(0, len(came), PACKET_BYTES):  # sendall would copy the rest anew for each packet
                channel.sendall(came[at : at + PACKET_BYTES])
        channel.shutdown_write()
    except (OSError, EOFError, paramiko.SSHException):
        channel.close()


def _wait_for_the_end(back: threading.Thread, channel: paramiko.Channel, door: socket.socket) -> None:
    """Wait until the door has said all; a visitor who is gone altogether waits for nothing, and nobody says so."""
    while back.is_alive() and not channel.closed:
        back.join(GONE_CHECK_S)
    with contextlib.suppress(OSError):
        door.shutdown(socket.SHUT_RDWR)
    back.join()
