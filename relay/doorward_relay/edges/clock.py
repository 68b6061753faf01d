"""What time it is."""

import time


def clock() -> int:
    """Give the time in ms."""
    return time.time_ns() // 1_000_000
