"""A scratch PostgreSQL: a cluster of its own, on a unix socket and one loopback port, ended by pid."""

import os
import pwd
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs, run

_FAST: Final = signal.SIGINT
"""It leaves nobody connected; at SIGTERM it waits for whoever is, has to be killed, and leaves its shared memory behind."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; anyone on the socket is trusted, its superuser is ``postgres``.

    Attributes:
        folder: the unix socket's folder, to be used as the host.
        network: a process in whose network it listens; 0 for ours.
    """

    program: Program
    binaries: Path
    folder: Path
    port: int
    network: int = 0

    def restarted(self, programs: Programs) -> "Postgres":
        """Start it again on its data, once it has ended."""
        return replace(self, program=_started(programs, self.binaries, self.folder, self.port, self.network))

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Name a database in libpq's form, through the unix socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def new_database(self, name: str, template: str = "template1") -> str:
        """Make a database as ``template`` is, dropping one of that name, and give its URL."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser and give psql's unaligned output."""
        ran = run([self.binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)])
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout.decode()


def start_postgres(programs: Programs, folder: Path, network: int = 0) -> Postgres:
    """Make a cluster in ``folder`` and start it; as root everything runs as the postgres user.

    Args:
        programs: keeps its log and ends it.
        folder: made if it is not there.
        network: a process in whose network namespace it listens; 0 for ours. There it keeps what it has committed when it is killed.
    """
    binaries = require("postgres").parent
    user = _user()
    folder.mkdir(mode=0o755, exist_ok=True)
    if user is not None:
        os.chown(folder, *_ids(user))
    words = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres"]
    made = run([binaries / "initdb", *words, folder / "data"], user=user, limit_s=50)
    assert made.returncode == 0, made.stderr.decode()
    port = free_port()
    return Postgres(_started(programs, binaries, folder, port, network), binaries, folder, port, network)


def _started(programs: Programs, binaries: Path, folder: Path, port: int, network: int) -> Program:
    settings = (
        "fsync=off",
        f"synchronous_commit={'on' if network else 'off'}",
        f"unix_socket_directories={folder}",
        "listen_addresses=127.0.0.1",
    )
    server: list[str | Path] = [
        binaries / "postgres",
        "-D",
        folder / "data",
        "-p",
        str(port),
        *(f"-c{one}" for one in settings),
    ]
    user = _user()
    if network:
        inside = ["/usr/bin/nsenter", f"--net=/proc/{network}/ns/net", "--"]
        as_user = ["/usr/bin/setpriv", f"--reuid={user}", "--regid=postgres", "--clear-groups"] if user else []
        program = programs.start(*inside, *as_user, *server, name="postgres", ending=_FAST)
    else:
        program = programs.start(*server, name="postgres", user=user, ending=_FAST)
    program.wait_for_socket(folder / f".s.PGSQL.{port}", limit_s=30)
    program.wait_for_log("ready to accept connections", limit_s=30)
    return program


def _user() -> str | None:
    return "postgres" if os.geteuid() == 0 else None


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
