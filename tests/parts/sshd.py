"""A plain sshd on loopback, as any relay or host may have one: nothing of ours in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs, run


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd.

    Attributes:
        host_key: its public host key, ``type base64``.
    """

    program: Program
    folder: Path
    port: int
    host_key: str

    def known_hosts(self, name: str = "127.0.0.1") -> str:
        """Give the known_hosts line for this sshd on its port."""
        return f"[{name}]:{self.port} {self.host_key}\n"


def make_ssh_key(path: Path, comment: str = "test") -> str:
    """Make an Ed25519 key pair at ``path`` and ``path.pub``; give the public line."""
    made = run([require("ssh").with_name("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
    assert made.returncode == 0, made.stderr.decode()
    return path.with_name(path.name + ".pub").read_text().strip()


def start_sshd(programs: Programs, folder: Path, authorized: Sequence[str], options: Sequence[str] = ()) -> Sshd:
    """Start sshd with ``authorized`` lines for every user; ``options`` go before our own and so win."""
    program_path = require("sshd")
    folder.mkdir(mode=0o711, exist_ok=True)
    make_ssh_key(folder / "host_key")
    write_whole(folder / "authorized_keys", "".join(f"{line}\n" for line in authorized))
    port = free_port()
    write_whole(folder / "sshd_config", "".join(f"{line}\n" for line in (*options, *_own_options(folder, port))))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's privilege separation folder; its unit makes it
    program = programs.start(program_path, "-D", "-e", "-f", folder / "sshd_config", name="sshd")
    program.wait_for_port(port)
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    return Sshd(program, folder, port, f"{kind} {key}")


def _own_options(folder: Path, port: int) -> tuple[str, ...]:
    return (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "MaxStartups 100:30:200",
    )
