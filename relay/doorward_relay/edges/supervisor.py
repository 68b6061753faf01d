"""What systemd is told: that we serve, that the main loop turns, that we stop (sd_notify(3), systemd.service(5)).

The main loop alone calls this, so a loop that hangs falls silent, and systemd starts the next relay. Where nobody asked to be
told, nothing is said. Agent and console have one each, a little different: rooms do not import each other, and the
protocol, which all of them may import, touches no socket.
"""

import math
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

READY: Final = "READY=1\nSTATUS="
ALIVE: Final = "WATCHDOG=1"


class Supervisor:
    """Speaks to systemd's socket."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take address and limit out of the environment: what we start shall not speak for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # Kept: a loop that turns is alive, also when no descriptor is left.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        self._limit_us = _limit_us(environment)
        self._pause_s = self._limit_us / 2e6 if self._limit_us else math.inf  # half, as sd_watchdog_enabled(3) advises
        self._is_ready, self._said, self._due_at = False, "", 0.0

    def turn(self, waits_for: Callable[[], str]) -> None:
        """Say, once in each turn of the main loop, that it turns; we serve from when it waits for nothing (an empty text).

        Until then the limit for starting is moved on from turn to turn: a relay may wait for its sshd for days, and one that
        hangs meanwhile is noticed all the same.
        """
        if self._socket is None:
            return
        word, now = ALIVE if self._is_ready else self._starting(waits_for()), time.monotonic()
        if (word != self._said or now >= self._due_at) and self._tell(word):
            self._is_ready = self._is_ready or word == READY
            self._said, self._due_at = word, now + self._pause_s

    def stopping(self) -> None:
        """Say that we end because we were asked to."""
        self._tell("STOPPING=1")

    def _starting(self, waits_for: str) -> str:
        return f"EXTEND_TIMEOUT_USEC={self._limit_us}\nSTATUS=waits for {waits_for}" if waits_for else READY

    def _tell(self, word: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(word.encode(), socket.MSG_DONTWAIT, self._address)
        except OSError:  # said again in the next turn
            return False
        return True


def _limit_us(environment: MutableMapping[str, str]) -> int:
    """Read how long systemd waits for a sign of this process; 0 where it does not."""
    limit_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    return int(limit_us) if pid in {"", str(os.getpid())} and limit_us.isdecimal() else 0
