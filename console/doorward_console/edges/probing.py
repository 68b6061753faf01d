"""Ask a door at a plain relay to show its banner, through the address and port that an engineer will use.

Reads one line and sends nothing: whatever listens there learns no more than that somebody connected. Called by the
worker's prober; what follows from an answer is ``maintenance``'s business.
"""

import socket
import time
from contextlib import suppress
from typing import Final

LIMIT_S: Final = 5.0
"""For connecting and for the banner together: a relay at the other end of the world answers within two."""
_LONGEST: Final = 4096
"""RFC 4253, section 4.2: lines may come before the version; a kilobyte or so is plenty."""


def probe(host: str, port: int, token: str) -> str | None:
    """Say what answers at an address; None when it is this session's door.

    ``probe.refused``: no connection (nobody listens, a firewall, or no way there); ``probe.silent``: a connection and no
    SSH version; ``probe.other-banner``: somebody else.
    """
    until = time.monotonic() + LIMIT_S
    try:
        connection = socket.create_connection((host, port), timeout=LIMIT_S)
    except (OSError, UnicodeError):  # UnicodeError: a name that IDNA cannot encode
        return "probe.refused"
    with connection:
        banner = _version_line(connection, until)
    if banner is None:
        return "probe.silent"
    return None if f"doorward-{token}" in banner.split(" ") else "probe.other-banner"


def _version_line(connection: socket.socket, until: float) -> str | None:
    """Read up to the line that begins with ``SSH-``; None when the time, the bytes or the connection end before."""
    heard = b""
    while len(heard) < _LONGEST and (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        said = b""
        with suppress(OSError):
            said = connection.recv(_LONGEST - len(heard))
        if not said:
            return None
        heard += said
        for line in heard.split(b"\n")[:-1]:
            if line.startswith(b"SSH-"):
                return line.decode("utf-8", "replace").strip()
    return None
