"""Who listens on this machine's IPv4 ports, as the kernel says (proc(5), net/tcp): looking costs no connection and no process."""

from pathlib import Path
from typing import Final

_SOCKETS: Final = Path("/proc/self/net/tcp")
_LISTENS: Final = "0A"
"""TCP_LISTEN in the field ``st``."""


def has_listener(port: int, sockets: Path = _SOCKETS) -> bool:
    """Tell whether anything listens on a port; True where the kernel does not say."""
    ending = f":{port:04X}"
    try:
        with sockets.open(encoding="ascii") as lines:
            return any(_is_listening(line.split(), ending) for line in lines)
    except OSError:
        return True


def _is_listening(words: list[str], ending: str) -> bool:
    return len(words) > 3 and words[1].endswith(ending) and words[3] == _LISTENS  # sl, local, remote, st
