"""An embedded door that stands by itself, as the runner starts it, and clients for it."""

import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paramiko

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs, run
from tests.parts.sshd import make_ssh_key
from tests.runner.programs import RUNNER

BANNER: Final = "abcdefgh234567ab"


@dataclass(frozen=True, slots=True)
class Door:
    """One door.

    Attributes:
        key: the engineer's private key.
    """

    program: Program
    folder: Path
    port: int
    login_user: str
    key: Path

    def connect(self, key: Path | None = None, user: str | None = None) -> paramiko.SSHClient:
        """Log in with paramiko."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", self.port, user or self.login_user, key_filename=str(key or self.key),
            allow_agent=False, look_for_keys=False, timeout=20, banner_timeout=20, auth_timeout=20,
        )  # fmt: skip
        return client

    def raw(self) -> socket.socket:
        """Connect and say nothing."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def options(self) -> list[str]:
        """Give what OpenSSH's clients need here."""
        return [
            "-F", "none", "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        ]  # fmt: skip

    @property
    def target(self) -> str:
        return f"{self.login_user}@127.0.0.1"

    def ssh(self, *words: str, stdin: bytes = b"", options: Sequence[str] = (), limit_s: float = 30) -> Any:
        """Run the ssh program."""
        command: list[str | Path] = [
            require("ssh"),
            *self.options(),
            *options,
            "-p",
            str(self.port),
            self.target,
            *words,
        ]
        return run(command, stdin=stdin, limit_s=limit_s)

    def memory_kib(self) -> int:
        """Give what it holds in memory and no file has (``Pss_Anon``): files' pages become more its own when another Python ends."""
        for line in Path(f"/proc/{self.program.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])
        raise AssertionError("no Pss_Anon")

    def processor_s(self) -> float:
        """Give how much time of a processor it has had."""
        words = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.program.pid}/task").iterdir()))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.program.pid}/fd").iterdir()))

    def children(self) -> list[int]:
        """Name what it started and has not reaped; a thread that ends while we look has no children any more."""
        found: list[int] = []
        for task in Path(f"/proc/{self.program.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def set_end(self, in_s: float) -> None:
        """Move the session's end."""
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        write_whole(self.folder / "end", f"{int(uptime_s + in_s)}\n")


def start_door(programs: Programs, folder: Path, login_user: str, **settings: Any) -> Door:
    """Lay out a door's folder as the runner does, and start the program that is the door."""
    key = folder / "engineer"
    door_folder = folder / "door-s-test"
    door_folder.mkdir(mode=0o755)
    door_folder.chmod(0o755)
    public = make_ssh_key(key)
    if not (folder / "host_key").exists():
        make_ssh_key(folder / "host_key")
    write_whole(door_folder / "authorized_keys", f"{public}\n")
    port = free_port()
    document = {
        "port": port, "login_user": login_user, "banner": BANNER, "host_key": str(folder / "host_key"), "host_certificate": None,
    } | settings  # fmt: skip
    write_whole(door_folder / "embedded.json", json.dumps(document), 0o600)
    write_whole(door_folder / "end", f"{int(time.clock_gettime(time.CLOCK_BOOTTIME)) + 3600}\n")
    python = RUNNER.with_name("python")
    program = programs.start(python, "-m", "doorward_door", door_folder, name="door", env={"PATH": os.environ["PATH"]})
    program.wait_for_port(port)
    return Door(program, door_folder, port, login_user, key)
