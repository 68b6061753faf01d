"""A long line: carries Ethernet frames between two interfaces, each of them so many milliseconds late; packet(7).

Run as a program inside a namespace: ``line.py ONE OTHER MILLISECONDS``. It needs nothing but the standard library.
"""

import array
import fcntl
import select
import socket
import struct
import sys
import time
from collections import deque

_EVERY_PROTOCOL = 0x0003
_OUTGOING = 4
_SIOCETHTOOL = 0x8946
_TX_CHECKSUMS = 0x17
_LONGEST_FRAME = 65_536


def main(one: str, other: str, milliseconds: int) -> None:
    """Carry frames until killed."""
    ends = {_open(one): one, _open(other): other}
    first, second = ends
    across = {first: second, second: first}
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        ready, _, _ = select.select(list(ends), [], [], max(0.0, waiting[0][0] - time.monotonic()) if waiting else None)
        for end in ready:
            frame, source = end.recvfrom(_LONGEST_FRAME)
            if source[2] != _OUTGOING:
                waiting.append((time.monotonic() + milliseconds / 1000, across[end], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, frame = waiting.popleft()
            end.send(frame)


def whole_frames(interface: str) -> None:
    """Let an interface send what a real wire would carry: checksums filled in, nothing larger than its MTU; ethtool(8)."""
    wanted = array.array("I", [_TX_CHECKSUMS, 0])
    with socket.socket() as asking:
        fcntl.ioctl(asking, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), wanted.buffer_info()[0]))


def _open(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    end.bind((interface, _EVERY_PROTOCOL))
    return end


if __name__ == "__main__":
    if sys.argv[1] == "--whole-frames":
        whole_frames(sys.argv[2])
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
