"""The lines that an engineer or a relay's administrator copies: pure text, nothing looked up.

Source: ssh(1), sshd(8) AUTHORIZED_KEYS FILE FORMAT and SSH_KNOWN_HOSTS FILE FORMAT; design: the dead ``command`` and
``permitopen`` are needed, for without them a tunnel certificate runs commands on a plain relay and reaches its loopback.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """How an open door is reached: through which relay and port, as whom."""

    project: str
    device: str
    host: str
    port: int
    user: str
    is_loopback: bool = False


def device_key_name(project: str) -> str:
    """Name the engineers' private key file."""
    return f"device-{project}.key"


def relay_key_name(project: str) -> str:
    """Name the file whose line goes on a plain relay."""
    return f"relay-server-{project}.key"


def ssh_line(way: Way) -> str:
    """Give the line that logs in and knows whose door it must be."""
    where = f"-J {way.host} {way.user}@localhost" if way.is_loopback else f"{way.user}@{way.host}"
    return f"ssh -i {device_key_name(way.project)} -o HostKeyAlias={way.device} {where} -p {way.port}"


def bare_ssh_line(way: Way) -> str:
    """Give the shortest line that logs in: it trusts whatever host key it meets first."""
    where = f"-J {way.host} {way.user}@localhost" if way.is_loopback else f"{way.user}@{way.host}"
    return f"ssh -i {device_key_name(way.project)} {where} -p {way.port}"


def known_hosts_line(device: str, host_ca: str) -> str:
    """Give the known_hosts line by which ssh knows this device's doors; ``host_ca`` is the CA's public ssh line."""
    kind, key = host_ca.split()[:2]
    return f"@cert-authority {device} {kind} {key}"


def relay_server_line(principal: str, ports: Sequence[int], tunnel_ca: str) -> str:
    """Give the one line of a plain relay's authorized_keys, for the tunnels of one project."""
    kind, key = tunnel_ca.split()[:2]
    listen = ",".join(f'permitlisten="{port}"' for port in ports)
    options = f'cert-authority,principals="{principal}",restrict,port-forwarding,command="/bin/false"'
    return f'{options},permitopen="127.0.0.1:1",{listen} {kind} {key} doorward {principal}'
