"""A scratch PostgreSQL: a cluster of its own, on a unix socket and one loopback port, ended by pid."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs, run


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; anyone on the socket is trusted, its superuser is ``postgres``.

    Attributes:
        folder: the unix socket's folder, to be used as the host.
    """

    program: Program
    binaries: Path
    folder: Path
    port: int

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Name a database in libpq's form, through the unix socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def new_database(self, name: str) -> str:
        """Make an empty database, dropping one of that name, and give its URL."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser and give psql's unaligned output."""
        ran = run([self.binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)])
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout.decode()


def start_postgres(programs: Programs, folder: Path) -> Postgres:
    """Make a cluster in ``folder`` and start it; as root everything runs as the postgres user."""
    binaries = require("postgres").parent
    user = "postgres" if os.geteuid() == 0 else None
    folder.mkdir(mode=0o755, exist_ok=True)
    if user is not None:
        os.chown(folder, *_ids(user))
    made = run(
        [
            binaries / "initdb",
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "-U",
            "postgres",
            folder / "data",
        ],
        user=user,
        limit_s=50,
    )
    assert made.returncode == 0, made.stderr.decode()
    port = free_port()
    settings = (
        "fsync=off",
        "synchronous_commit=off",
        f"unix_socket_directories={folder}",
        "listen_addresses=127.0.0.1",
    )
    program = programs.start(
        binaries / "postgres",
        "-D",
        folder / "data",
        "-p",
        str(port),
        *(f"-c{one}" for one in settings),
        name="postgres",
        user=user,
    )
    program.wait_for_socket(folder / f".s.PGSQL.{port}", limit_s=30)
    program.wait_for_log("ready to accept connections", limit_s=30)
    return Postgres(program, binaries, folder, port)


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
