"""How much one device may say: pure bookkeeping, so that one that shouts does not silence the others."""

from typing import Final

WINDOW_MS: Final = 10_000
MOST_IN_WINDOW: Final = {"ask": 20, "presence": 20, "record": 2_000}
"""In ten seconds: an opening brings about five asks; a journal is sent 64 records at a time."""


class Allowances:
    """Counts messages by device and leaf within a window."""

    __slots__ = ("_counts", "_since")

    def __init__(self) -> None:
        self._since = 0
        self._counts: dict[tuple[str, str], int] = {}

    def is_allowed(self, device: str, leaf: str, now: int) -> bool:
        """Count one message; False when the device has had its share of this window."""
        if now - self._since >= WINDOW_MS:
            self._since, self._counts = now, {}
        count = self._counts.get((device, leaf), 0) + 1
        self._counts[device, leaf] = count
        return count <= MOST_IN_WINDOW.get(leaf, 0)
