"""Argument lists for the ``ssh`` program: how a relay is dialled, and how a running master is spoken to.

Every path is relative to the tunnel's own folder, which is the program's working directory: a control socket's name must
stay under 108 bytes wherever that folder is.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from doorward_protocol.orders import RelayRoute

from doorward_agent.config import Config

CONTROL: Final = "control"
KNOWN_HOSTS: Final = "known_hosts"
CERTIFICATE: Final = "certificate.pub"
SEEN: Final = "seen"

_ALWAYS: Final = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "NumberOfPasswordPrompts=0",
    f"CertificateFile={CERTIFICATE}",
    f"UserKnownHostsFile={KNOWN_HOSTS}",
    "GlobalKnownHostsFile=none",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    # The fingerprint of the host key that the relay showed becomes a folder's name, so that a failure can be told
    # apart without reading debug text: a key that is not pinned, or a relay that did not admit us. Needs OpenSSH 8.5.
    "IgnoreUnknown=KnownHostsCommand",
    f"KnownHostsCommand=/bin/mkdir -p {SEEN}/%f",
    # The post-quantum exchange costs 100 ms of a small device's 260; what a session carries is worth no more than the
    # host key that vouches for it, and the door's own ssh inside the tunnel negotiates for itself.
    "KexAlgorithms=^curve25519-sha256,curve25519-sha256@libssh.org",
    # AES-GCM carries 40 % more than ChaCha20 for the same CPU on both ends.
    "Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    "ServerAliveCountMax=3",
    "ExitOnForwardFailure=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ControlPersist=no",
    "RequestTTY=no",
    "Compression=no",
    "LogLevel=ERROR",
)


def dial_command(config: Config, route: RelayRoute) -> Sequence[str]:
    """Build the master: it logs in over the connection that is its standard input and output, opens the control socket, and carries nothing yet."""
    types = ",".join(dict.fromkeys(algorithm for line in route.host_keys for algorithm in _algorithms(line)))
    own = (
        # Read as a line of ssh_config: the folder may have spaces in its name.
        f'IdentityFile="{config.state_dir / "tunnel_key"}"',
        f"HostKeyAlias={route.relay}",
        f"HostKeyAlgorithms={types}",
        # Standard input and output are the connection (OpenSSH 6.2 and later; no command is run).
        "ProxyCommand=-",
        # For the relay's banner.
        f"ConnectTimeout={config.tunnel_limit_s}",
        f"ServerAliveInterval={config.relay_keepalive_s}",
    )
    options = [word for option in (*_ALWAYS, *own) for word in ("-o", option)]
    target = ("-p", str(route.port), "-l", route.user, "--", route.host)
    return (str(config.ssh_program), "-F", "none", "-N", "-M", "-S", CONTROL, *options, *target)


def hello_command(program: Path, host: str) -> Sequence[str]:
    """Build the question why: the relay runs its own forced command, whatever is asked for."""
    return (*_through_master(program), "-T", "--", host, "hello")


def _through_master(program: Path) -> Sequence[str]:
    """Speak to the master only: without one, ssh would dial by itself, and false does not."""
    return (str(program), "-F", "none", "-S", CONTROL, "-o", "BatchMode=yes", "-o", "ProxyCommand=/bin/false")


def known_hosts_text(route: RelayRoute) -> str:
    """Pin the relay's host keys under its id."""
    return "".join(f"{route.relay} {' '.join(line.split(' ')[:2])}\n" for line in route.host_keys)


def fingerprint_of_key(line: str) -> str:
    """Name a public key line as ``ssh-keygen -l`` does: ``SHA256:`` and base64 without padding."""
    digest = hashlib.sha256(base64.b64decode(line.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode()


def _algorithms(line: str) -> Sequence[str]:
    """Name the signature algorithms of a key's type; an RSA key signs with SHA-2 only."""
    kind = line.split(" ", maxsplit=1)[0]
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)
