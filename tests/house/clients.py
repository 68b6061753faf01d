"""Engineers' programs, each logging in as it would in the field and carrying a file both ways where it can.

A client is a function of the way in and of what runs its argument lists (from the network where an engineer stands). It fails
with what the program said.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.parts.files import write_whole
from tests.parts.installed import require

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True, slots=True)
class WayIn:
    """How an engineer reaches one open door.

    Attributes:
        alias: the name under which the host key stands in ``known_hosts``.
        folder: for files of the clients.
        has_terminals: False behind an sshd without root where /dev/pts is not tty's.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    alias: str
    folder: Path
    has_terminals: bool = True

    @property
    def target(self) -> str:
        return f"{self.user}@{self.host}"

    def options(self) -> list[str]:
        """Give OpenSSH's options: the printed known_hosts line and nothing of whoever runs the tests."""
        return [
            "-F", "none", "-i", str(self.key), "-o", f"HostKeyAlias={self.alias}", "-o", f"UserKnownHostsFile={self.known_hosts}",
            "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        ]  # fmt: skip

    def sent(self) -> Path:
        return write_whole(self.folder / "sent", bytes(range(256)) * 1024)

    def came_back(self) -> None:
        """Fail where what came back is not what was sent."""
        back = self.folder / "back"
        assert back.read_bytes() == (self.folder / "sent").read_bytes()
        back.unlink()


def _must(run: Run, argv: list[str | Path], status: int = 0, stdin: bytes = b"") -> bytes:
    done = run(argv, stdin=stdin)
    assert done.returncode == status, (
        f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace')}"
    )
    return done.stdout


def ssh(way: WayIn, run: Run) -> None:
    words: list[str | Path] = [require("ssh"), *way.options(), "-p", str(way.port), way.target]
    assert _must(run, [*words, "cat; exit 4"], 4, b"said") == b"said"
    if way.has_terminals:
        assert _must(run, [*words[:1], "-tt", *words[1:], "stty size >/dev/null && tty"]).startswith(b"/dev/")


def scp(way: WayIn, run: Run) -> None:
    program: list[str | Path] = [require("sftp").with_name("scp"), *way.options(), "-P", str(way.port)]
    _must(run, [*program, way.sent(), f"{way.target}:arrived"])
    _must(run, [*program, f"{way.target}:arrived", way.folder / "back"])
    way.came_back()


def sftp(way: WayIn, run: Run) -> None:
    batch = f'put "{way.sent()}" arrived\nget arrived "{way.folder}/back"\nrm arrived\n'
    _must(run, [require("sftp"), *way.options(), "-P", str(way.port), "-b", "-", way.target], 0, batch.encode())
    way.came_back()


def rsync(way: WayIn, run: Run) -> None:
    through = shlex.join(["ssh", *way.options(), "-p", str(way.port)])
    _must(run, [require("rsync"), "-e", through, way.sent(), f"{way.target}:arrived"])
    _must(run, [require("rsync"), "-e", through, f"{way.target}:arrived", way.folder / "back"])
    way.came_back()


def dbclient(way: WayIn, run: Run) -> None:
    """Dropbear's, which knows no certificates of hosts: the weaker form."""
    program, key = require("dbclient"), way.folder / "dropbear_key"
    key.unlink(missing_ok=True)
    _must(run, [program.with_name("dropbearconvert"), "openssh", "dropbear", way.key, key])
    said = _must(run, [program, "-y", "-y", "-i", key, "-p", str(way.port), way.target, "echo said; exit 4"], 4)
    assert said == b"said\n"


def putty(way: WayIn, run: Run) -> None:
    """plink and psftp, with the host key's fingerprint as a person reads it from the first log-in."""
    key, keygen = way.folder / "putty.ppk", require("ssh").with_name("ssh-keygen")
    key.unlink(missing_ok=True)
    _must(run, [require("puttygen"), way.key, "-O", "private", "-o", key])
    seen = write_whole(
        way.folder / "seen",
        _must(run, [keygen.with_name("ssh-keyscan"), "-t", "ed25519", "-p", str(way.port), way.host]),
    )
    shown = _must(run, [keygen, "-lf", seen]).split()[1].decode()
    common: list[str | Path] = ["-batch", "-i", key, "-P", str(way.port), "-hostkey", shown]
    assert _must(run, [require("plink"), "-ssh", *common, way.target, "echo said; exit 4"], 4) == b"said\n"
    batch = write_whole(
        way.folder / "batch", f'put "{way.sent()}" arrived\nget arrived "{way.folder}/back"\nrm arrived\n'
    )
    _must(run, [require("plink").with_name("psftp"), *common, "-b", batch, way.target])
    way.came_back()


_ASYNCSSH = """
import asyncio, sys, asyncssh
host, port, user, key, sent, back = sys.argv[1:]
async def work():
    async with asyncssh.connect(host, int(port), username=user, client_keys=[key], known_hosts=None, config=[]) as connection:
        ran = await connection.run("echo said; exit 4")
        async with connection.start_sftp_client() as files:
            await files.put(sent, "arrived")
            await files.get("arrived", back)
            await files.remove("arrived")
    sys.stdout.write(ran.stdout)
    sys.exit(ran.exit_status)
asyncio.run(work())
"""

_PARAMIKO = """
import sys, paramiko
host, port, user, key, sent, back = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
_, out, _ = client.exec_command("echo said; exit 4")
with client.open_sftp() as files:
    files.put(sent, "arrived")
    files.get("arrived", back)
    files.remove("arrived")
sys.stdout.write(out.read().decode())
status = out.channel.recv_exit_status()
client.close()
sys.exit(status)
"""


def _library(program: str) -> Callable[[WayIn, Run], None]:
    def log_in(way: WayIn, run: Run) -> None:
        words: list[str | Path] = [way.host, str(way.port), way.user, way.key, way.sent(), way.folder / "back"]
        assert _must(run, [sys.executable, "-c", program, *words], 4) == b"said\n"
        way.came_back()

    return log_in


def ansible(way: WayIn, run: Run) -> None:
    """``ansible -m ping``: a module copied over, run by the device's Python, its answer read back."""
    variables = {
        "ansible_host": way.host, "ansible_port": way.port, "ansible_user": way.user, "ansible_ssh_private_key_file": way.key,
        "ansible_ssh_common_args": f"'{shlex.join(way.options()[4:])}'", "ansible_python_interpreter": "/usr/bin/python3",
    }  # fmt: skip
    inventory = "device " + " ".join(f"{name}={value}" for name, value in variables.items()) + "\n"
    program = Path(sys.executable).with_name("ansible")
    said = _must(run, [program, "all", "-i", write_whole(way.folder / "inventory", inventory), "-m", "ping"])
    assert b'"ping": "pong"' in said, said


CLIENTS: Final[Mapping[str, Callable[[WayIn, Run], None]]] = {
    "ssh": ssh,
    "scp": scp,
    "sftp": sftp,
    "rsync": rsync,
    "dbclient": dbclient,
    "putty": putty,
    "asyncssh": _library(_ASYNCSSH),
    "paramiko": _library(_PARAMIKO),
}
NEEDED: Final = ("ssh", "sftp", "rsync", "dbclient", "plink", "puttygen")
