"""Whether there is room for a trial, asked before programs fail of it one by one, each with a trace of its own."""

import shutil
from pathlib import Path
from typing import Final

from demo.children import Failed

ELSEWHERE: Final = "Name another folder: make demo TMPDIR=/var/tmp"
_NEEDED_MB: Final = 16
"""Database, logs and keys take three; the rest is for an hour of looking around."""


def check_room(folder: Path) -> None:
    """Raise Failed where the disk below ``folder`` is full."""
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < _NEEDED_MB:
        raise Failed(f"{folder.parent} has {free_mb} MB left; a trial needs {_NEEDED_MB}. {ELSEWHERE}")
