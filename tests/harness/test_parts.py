"""The parts that other tests stand on do what those tests believe of them."""

import os
import socket
import ssl
import stat
import time
from pathlib import Path

import pytest

from tests.parts import installed
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port, free_ports, neighbours
from tests.parts.postgres import Postgres
from tests.parts.processes import Programs, run
from tests.parts.sshd import make_ssh_key, start_sshd


@pytest.mark.real("postgres")
def test_postgres_when_database_is_made_then_it_is_empty_each_time(postgres_cluster: Postgres) -> None:
    """Each test that asks for a database gets an empty one."""
    postgres_cluster.new_database("mine")
    postgres_cluster.sql("CREATE TABLE t (n int)", "mine")
    postgres_cluster.new_database("mine")
    assert postgres_cluster.sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'", "mine") == "0\n"


@pytest.mark.real("sshd", "ssh", "root")
def test_sshd_when_key_is_authorized_then_a_command_runs(programs: Programs, scratch: Path) -> None:
    """The plain sshd admits a key written into it, with its strict checks of files left on."""
    line = make_ssh_key(scratch / "key")
    sshd = start_sshd(programs, scratch / "sshd", [line], ["PermitRootLogin yes"])
    write_whole(scratch / "known_hosts", sshd.known_hosts())
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={scratch}/known_hosts"]
    ran = run([require("ssh"), *options, "-i", scratch / "key", "-p", str(sshd.port), "root@127.0.0.1", "echo in"])
    assert (ran.returncode, ran.stdout) == (0, b"in\n"), ran.stderr.decode() + sshd.program.log_text()


@pytest.mark.real("root", "sudo")
def test_scratch_when_file_is_readable_then_another_user_reads_it(scratch: Path) -> None:
    """Other system users can reach a named file in the scratch folder, and cannot list the folder."""
    written = write_whole(scratch / "open", "content", 0o644)
    assert run(["/bin/cat", written], user="nobody").stdout == b"content"
    assert run(["/bin/ls", scratch], user="nobody").returncode != 0


def test_write_whole_when_umask_is_wide_then_mode_is_as_asked(scratch: Path) -> None:
    """A secret's file never has a wider mode than asked, whatever the umask."""
    before = os.umask(0)
    try:
        written = write_whole(scratch / "secret", b"x", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_program_when_it_ends_early_then_waiting_fails_with_its_log(programs: Programs) -> None:
    """Who waits for a program that died learns at once, and reads why."""
    program = programs.start("/bin/sh", "-c", "echo cannot bind; exit 3")
    with pytest.raises(AssertionError, match="cannot bind"):
        program.wait_for(lambda: False, limit_s=20)


def test_program_when_it_ignores_the_request_then_it_is_ended_all_the_same(programs: Programs) -> None:
    """Nothing that a test started outlives it."""
    program = programs.start("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do read x < /dev/zero; done")
    program.wait_for_log("ready")
    assert program.end(limit_s=0.2) == -9


@pytest.mark.real("root", "unshare")
def test_program_when_it_holds_another_then_both_have_ended_at_once(programs: Programs, scratch: Path) -> None:
    """unshare hears no request to end while it waits: each machine of a house cost five seconds when it was taken down."""
    held = "echo > held; exec sleep 1000"
    holder = programs.start(
        require("unshare"), "--pid", "--fork", "--kill-child", "/bin/sh", "-c", held, is_holder=True
    )
    holder.wait_for((scratch / "held").exists)
    began = time.monotonic()
    holder.end(limit_s=50)
    assert time.monotonic() - began < 40
    assert not Path(f"/proc/{holder.pid}").exists()


def test_free_ports_when_asked_for_then_each_is_another_and_none_is_one_that_connections_get() -> None:
    """What connects between the finding and the listening takes none away."""
    first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = [port for _ in range(30) for port in free_ports(20)]
    assert len(set(found)) == 600
    assert max(found) < first_of_kernel


def test_free_ports_when_the_lane_has_been_gone_through_then_those_named_just_before_are_not_named() -> None:
    """A relay refuses a port of its own within those that it gives away."""
    for _ in range(1_000):
        given, own = neighbours(8), free_ports(2)
        assert not set(given) & set(own)


def test_free_ports_when_one_is_listened_at_then_it_is_not_named() -> None:
    """Nor are neighbours of which one is taken."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        found = {port for _ in range(1_000) for port in neighbours(4)}
    assert port not in found
    assert len(found) > 1_000


def test_handshake_when_it_fails_then_the_socket_is_closed_whoever_dialled() -> None:
    """paho does not close it, and what is left to be cleared away fails another test."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]) as link:
        server.accept()[0].close()
        dialled = ssl.create_default_context().wrap_socket(
            link, server_hostname="localhost", do_handshake_on_connect=False
        )
        with pytest.raises(OSError, match=r"EOF|reset"):
            dialled.do_handshake()
        assert dialled.fileno() == -1


def test_require_when_program_is_missing_then_the_skip_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing part is never silent: the skip says what to install."""
    monkeypatch.setattr(installed, "_SEARCH_PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="needs sshd: apt install openssh-server"):
        installed.require("sshd")
