"""The agent's nonces: memory only, new every 5 minutes, the last two count (protocol.md §3).

An order echoes one of them, so an order that was kept back for ten minutes answers nothing any more.
"""

from dataclasses import dataclass
from typing import Final

RENEWED_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Nonces:
    """The nonce that the next ask carries, since when, and the one before it."""

    current: str
    since_ms: int
    previous: str | None = None

    @property
    def fresh(self) -> tuple[str, ...]:
        return (self.current,) if self.previous is None else (self.current, self.previous)


def renewed(nonces: Nonces, now_ms: int, chance: str) -> Nonces:
    """Give the nonces that count now; ``chance`` becomes the new one if it is time for one.

    After a suspend both may be too old: then neither counts.
    """
    age_ms = now_ms - nonces.since_ms
    if age_ms < RENEWED_MS:
        return nonces
    return Nonces(chance, now_ms, nonces.current if age_ms < 2 * RENEWED_MS else None)
