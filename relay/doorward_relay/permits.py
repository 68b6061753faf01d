"""What a device may listen on: its grant's ports, on its grant's addresses, decided without touching the world.

What ``permitlisten`` says to sshd, for the embedded relay: an address that was asked for is a word to be compared, not a
name to be looked up. Called by ``edges.embedded``.
"""

from typing import Final

from doorward_protocol.grants import Grant

_EVERYWHERE: Final = frozenset({"", "*", "0.0.0.0", "::"})  # noqa: S104 - words to be compared
"""How ssh clients write the wildcard (RFC 4254, section 7.1; ssh(1) sends an empty address for ``*``)."""
_LOOPBACK: Final = "localhost"


def bind_for(grant: Grant, host: str, port: int) -> str | None:
    """Give ``*`` or ``localhost``, where a device that asked for ``host`` and ``port`` may listen, or None for nowhere."""
    forward = next((one for one in grant.forwards if one.port == port), None)
    if forward is None:
        return None
    if host == _LOOPBACK:
        return _LOOPBACK
    return "*" if host in _EVERYWHERE and forward.bind == "*" else None
