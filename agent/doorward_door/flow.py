"""Carrying bytes between a channel and a descriptor, one direction a thread.

Every wait has a limit, so that no thread outlives its channel: a process that neither reads nor writes holds nothing of ours. What a
client does not read is not read from the process either: the window bounds what is held, in both directions.
"""

import os
import select
from collections.abc import Callable
from typing import Any, Final

_LOOK_EVERY_MS: Final = 300
_PIECE_BYTES: Final = 65_536


def carry_in(channel: Any, descriptor: int) -> None:
    """Write what the client sends to ``descriptor`` until the client has said all, or the reader is gone."""
    os.set_blocking(descriptor, False)
    while piece := channel.recv(_PIECE_BYTES):
        if not _written(channel, descriptor, piece):
            return


def _written(channel: Any, descriptor: int, piece: bytes) -> bool:
    """Write all of ``piece``, for as long as the channel is open; False where that came to an end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    left = memoryview(piece)
    while left:
        if channel.closed:
            return False
        try:
            if poll.poll(_LOOK_EVERY_MS):
                left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            continue
        except OSError:  # the reader is gone
            return False
    return True


def carry_out(
    descriptor: int, channel: Any, send: Callable[[bytes], None], is_over: Callable[[], bool] | None = None
) -> None:
    """Send what comes from ``descriptor`` until its end, the channel's end, or nothing more comes and ``is_over``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not channel.closed:
        try:
            if not poll.poll(_LOOK_EVERY_MS):
                if is_over is not None and is_over():
                    return
                continue
            piece = os.read(descriptor, _PIECE_BYTES)
            if not piece:
                return
            send(piece)
        except (OSError, EOFError):  # EIO is a terminal's end; a closed channel takes nothing any more
            return
