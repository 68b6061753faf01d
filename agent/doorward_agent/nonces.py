"""The agent's nonces: memory only, new every 5 minutes, the last two count (protocol.md §3).

An order echoes one of them, so an order that was kept back for ten minutes answers nothing any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

RENEWED_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Nonces:
    """The nonce that the next ask carries and the one before it, each with the time at which it was made."""

    current: str
    since_ms: int
    previous: str | None = None
    previous_since_ms: int = 0

    @property
    def fresh(self) -> Mapping[str, int]:
        """Give those that count, the newest first, each with when it was made."""
        current = {self.current: self.since_ms}
        return current if self.previous is None else {**current, self.previous: self.previous_since_ms}


def renewed(nonces: Nonces, now_ms: int, chance: str) -> Nonces:
    """Give the nonces that count now; ``chance`` becomes the new one if it is time for one.

    None counts for longer than ten minutes, also when nobody looked at the clock for a while (a suspend).
    """
    if now_ms - nonces.since_ms >= RENEWED_MS:
        nonces = Nonces(chance, now_ms, nonces.current, nonces.since_ms)
    if now_ms - nonces.previous_since_ms >= 2 * RENEWED_MS:
        return replace(nonces, previous=None)
    return nonces
