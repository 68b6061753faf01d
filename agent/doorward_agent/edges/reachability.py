"""How far a device gets towards a relay where no host key was shown: asked afterwards, of the resolver and the port."""

import socket
from typing import Final

CHECK_LIMIT_S: Final = 3.0


def reachability(host: str, port: int) -> str:
    """Say as a reason code what stands between this device and an SSH server at an address."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return "tunnel.unresolved"
    for family, kind, protocol, _name, address in addresses:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(CHECK_LIMIT_S)
            if connection.connect_ex(address) == 0:
                return _greeting(connection)
    return "tunnel.unreachable"


def _greeting(connection: socket.socket) -> str:
    """Say what is wrong with a port that accepts: an SSH server with no kind of host key that was pinned is another one."""
    try:
        return "tunnel.host-key" if connection.recv(4) == b"SSH-" else "tunnel.unreachable"
    except TimeoutError:
        return "tunnel.timeout"
    except OSError:
        return "tunnel.unreachable"
