"""How much one device may say: pure bookkeeping, so that one that shouts does not silence the others."""

from typing import Final

WINDOW_MS: Final = 10_000
MOST_IN_WINDOW: Final = {"ask": 20, "presence": 20, "record": 2_000}
"""In ten seconds: an opening brings about five asks; a journal is sent 64 records at a time."""


class Allowances:
    """Counts messages by device and leaf within a window."""

    __slots__ = ("_counts", "_late", "_since")

    def __init__(self) -> None:
        self._since = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._late: dict[str, bytes] = {}

    def is_allowed(self, device: str, leaf: str, now: int) -> bool:
        """Count one message; False when the device has had its share of this window."""
        if now - self._since >= WINDOW_MS:
            self._since, self._counts = now, {}
        count = self._counts.get((device, leaf), 0) + 1
        self._counts[device, leaf] = count
        return count <= MOST_IN_WINDOW.get(leaf, 0)

    def keep_ask(self, device: str, payload: bytes) -> None:
        """Keep the newest ask over the allowance: a device that was restarted again and again asks next in five minutes."""
        self._late[device] = payload

    def late_asks(self, now: int) -> dict[str, bytes]:
        """Give the kept asks, by device, once their window is over."""
        if not self._late or now - self._since < WINDOW_MS:
            return {}
        late, self._late = self._late, {}
        return late
