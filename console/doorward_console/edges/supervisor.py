"""What systemd is told: that we serve, that the main loop turns, that we stop (sd_notify(3), systemd.service(5)).

The main loop alone calls this, so a loop that hangs falls silent, and systemd starts the next process. Where nobody asked to be
told, nothing is said. Agent and relay have one each, a little different: rooms do not import each other, and the
protocol, which all of them may import, touches no socket.
"""

import math
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

READY: Final = b"READY=1"
ALIVE: Final = b"WATCHDOG=1"
STOPPING: Final = b"STOPPING=1"
AGAIN_S: Final = 5.0
"""After a word that could not be delivered."""


class Supervisor:
    """Speaks to systemd's socket."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take address and limit out of the environment: what we start shall not speak for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # Kept: a loop that turns is alive, also when no descriptor is left.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        self._pause_s = _limit_s(environment) / 2  # as sd_watchdog_enabled(3) advises
        self._word = READY
        self._due_at = -math.inf if address else math.inf

    def turn(self) -> float:
        """Say that the loop turns, the first time that we serve; gives the seconds after which it has to turn again."""
        now = time.monotonic()
        if now >= self._due_at:
            is_told = self._tell(self._word)
            self._word = ALIVE if is_told else self._word
            self._due_at = now + (self._pause_s if is_told else AGAIN_S)
        return self._due_at - now

    def stopping(self) -> None:
        """Say that we end because we were asked to."""
        self._tell(STOPPING)

    def _tell(self, word: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(word, socket.MSG_DONTWAIT, self._address)
        except OSError:
            return False
        return True


def _limit_s(environment: MutableMapping[str, str]) -> float:
    """Read how long systemd waits for a sign of this process; without a limit, for ever."""
    limit_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    is_ours = pid in {"", str(os.getpid())}
    return int(limit_us) / 1e6 if is_ours and limit_us.isdecimal() else math.inf
