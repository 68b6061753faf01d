"""The door's sshd_config, as text (sshd_config(5)); pure.

Everything that a door does not do is refused twice, by its own line and by DisableForwarding. Nothing is
taken from the system's configuration: a keyword that is missing here has OpenSSH's default, never Debian's.
"""

from pathlib import Path
from typing import NamedTuple


class DoorSettings(NamedTuple):
    """What differs from door to door.

    Attributes:
        has_penalties: this sshd knows PerSourcePenalties (OpenSSH 9.8); every client of a door is 127.0.0.1, so one
            stranger's failures would lock out everybody.
        is_rootless: this sshd runs as an ordinary user.
    """

    port: int
    login_user: str
    banner: str
    authorized_keys: Path
    host_key: Path
    host_certificate: Path | None
    has_penalties: bool
    is_rootless: bool


def sshd_config_from(door: DoorSettings) -> str:
    """Write the configuration of one door."""
    lines = [
        f"ListenAddress 127.0.0.1:{door.port}",
        f"HostKey {_quoted(door.host_key)}",
        f"AuthorizedKeysFile {_quoted(door.authorized_keys)}",
        f"AllowUsers {door.login_user}",
        f"VersionAddendum doorward-{door.banner}",
        # A mark, for where no control group holds together.
        f"SetEnv {_quoted(f'DOORWARD_DOOR={door.authorized_keys.parent}')}",
        # An ordinary user's folders may stand below a group's or below /tmp; who else may write there could be sshd itself.
        f"StrictModes {'no' if door.is_rootless else 'yes'}",
        *_FIXED,
    ]
    if door.host_certificate is not None:
        lines.append(f"HostCertificate {_quoted(door.host_certificate)}")
    if door.has_penalties:
        lines.append("PerSourcePenalties no")
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    """Quote as a whole, which old and new parsers read alike; what quotes cannot hold ``config`` refuses."""
    return f'"{value}"'


_FIXED = (
    "AddressFamily inet",
    "PidFile none",
    "LogLevel VERBOSE",
    "SyslogFacility AUTH",
    # Who: one user, by key, from our file alone.
    "AuthenticationMethods publickey",
    "PubkeyAuthentication yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "HostbasedAuthentication no",
    "PermitRootLogin no",
    "PermitEmptyPasswords no",
    "AuthorizedKeysCommand none",
    "AuthorizedPrincipalsFile none",
    "AuthorizedPrincipalsCommand none",
    "TrustedUserCAKeys none",
    "UsePAM no",
    # What: a shell, a command, sftp. No way through to anything else.
    "DisableForwarding yes",
    "AllowTcpForwarding no",
    "AllowStreamLocalForwarding no",
    "AllowAgentForwarding no",
    "X11Forwarding no",
    "PermitTunnel no",
    "GatewayPorts no",
    "PermitUserRC no",
    "PermitUserEnvironment no",
    "Subsystem sftp internal-sftp",
    # How long: strangers 20 s (a slow link needs ten), dead clients 90 s. Probes and engineers share one source address.
    "LoginGraceTime 20",
    "MaxStartups 64:30:128",
    "ClientAliveInterval 30",
    "ClientAliveCountMax 3",
    "UseDNS no",
    "PrintMotd no",
    "PrintLastLog no",
)
