"""Write the configuration of the relay's own sshd; the host's sshd is another program and stays as it is.

Everything is refused first and for everybody; the one ``Match`` block gives tunnels back to the one tunnel user.
``TrustedUserCAKeys`` stands inside that block only: outside it, a certificate of the tunnel CA for principal ``root``
would be root. Source: sshd_config(5). Called by ``install`` alone; the operator is shown the text before it is written.
"""

from doorward_relay.config import RelayConfig
from doorward_relay.reaper import KEEPALIVE_S, KEEPALIVES


def sshd_config_text(config: RelayConfig, *, knows_penalties: bool) -> str:
    """Give sshd_config; ``knows_penalties`` says whether this sshd has PerSourcePenalties (OpenSSH 9.8 and later)."""
    listen = "" if config.listen == "*" else f"ListenAddress {config.listen}\n"
    penalties = "# A fleet behind one NAT is one source to us.\nPerSourcePenalties no\n" if knows_penalties else ""
    return f"""\
# The relay's own sshd, written by doorward-relay install. Admits tunnels of devices and nothing else.
Port {config.ssh_port}
{listen}HostKey {config.host_key_file}
PidFile {config.sshd_pid_file}
LogLevel INFO

# Who: the tunnel user, by a certificate. No password, no plain key, nobody else, root least of all.
AllowUsers {config.tunnel_user}
PermitRootLogin no
AuthenticationMethods publickey
PubkeyAuthentication yes
PubkeyAcceptedAlgorithms *-cert-v01@openssh.com
PasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
PermitEmptyPasswords no
UsePAM no
StrictModes yes
AuthorizedKeysFile none
AuthorizedPrincipalsFile none

# What: nothing, until the Match block gives forwards back.
AllowTcpForwarding no
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PermitUserEnvironment no
GatewayPorts no
PrintMotd no
UseDNS no

# How many: hundreds of devices that dial at once after an outage, all from one address perhaps.
LoginGraceTime 20
MaxStartups 500:30:1000
PerSourceMaxStartups none
MaxAuthTries 3
MaxSessions 4
{penalties}
# Something for a silent peer to answer; the reaper ends who does not. sshd itself counts only while nobody knocks.
TCPKeepAlive yes
ClientAliveInterval {KEEPALIVE_S}
ClientAliveCountMax {KEEPALIVES}

Match User {config.tunnel_user}
    TrustedUserCAKeys {config.tunnel_ca_file}
    AuthorizedPrincipalsFile {config.principals_file}
    AllowTcpForwarding remote
    GatewayPorts clientspecified
"""
