"""The runner's nonces: which still count, and when a new one is made (protocol.md §4, step 6). Pure.

A nonce is 16 random bytes as 22 characters of base64url. Two count, the newest first. A newest of five minutes gets a
successor; past ten minutes (a timer that stood still, a machine that slept) neither counts any more.
"""

import base64
from typing import Final

RENEW_AFTER_S: Final = 300
RANDOM_BYTES: Final = 16


def nonce_from_bytes(chance: bytes) -> str:
    """Write 16 random bytes as a nonce."""
    return base64.urlsafe_b64encode(chance).decode().rstrip("=")


def renewed(held: tuple[str, ...], age_s: float | None, fresh: str) -> tuple[str, ...]:
    """Give the nonces that count when the newest of ``held`` is ``age_s`` seconds old (None: nobody knows)."""
    if age_s is None or not 0 <= age_s < 2 * RENEW_AFTER_S or not held:
        return (fresh,)
    return held if age_s < RENEW_AFTER_S else (fresh, held[0])


def without(held: tuple[str, ...], used: str, fresh: str) -> tuple[str, ...]:
    """Give the nonces that count once ``used`` has been used up: none that is older goes on beside it, order after order."""
    return (fresh, *held[: held.index(used)])[:2]
