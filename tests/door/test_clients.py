"""Engineers' clients through the embedded door: the programs that people have, unchanged."""

import asyncio
import os
from pathlib import Path

import asyncssh
import pytest

from tests.door.standing import Door, start_door
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.processes import Programs, run
from tests.parts.sshd import make_ssh_key
from tests.runner.conftest import Users

pytestmark = pytest.mark.feature("T5", "E4")


@pytest.fixture
def carried(door: Door) -> Path:
    """A file to carry, of random bytes."""
    return write_whole(door.folder.parent / "carried", os.urandom(300_000))


def _home(door: Door, name: str) -> Path:
    return Path("/home") / door.login_user / name


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "old"])
def test_scp_when_it_copies_both_ways_then_the_file_is_the_same(door: Door, carried: Path, protocol: list[str]) -> None:
    """With sftp, and with the old protocol, which runs the device's own scp."""
    scp: list[str | Path] = [require("sftp").with_name("scp"), *protocol, "-p", *door.options(), "-P", str(door.port)]
    sent = run([*scp, carried, f"{door.target}:sent"])
    assert sent.returncode == 0, sent.stderr.decode()
    assert _home(door, "sent").read_bytes() == carried.read_bytes()
    back = run([*scp, f"{door.target}:sent", carried.with_name("back")])
    assert back.returncode == 0, back.stderr.decode()
    assert carried.with_name("back").read_bytes() == carried.read_bytes()


def test_sftp_when_it_works_in_a_batch_then_each_command_succeeds(door: Door, carried: Path) -> None:
    """OpenSSH's sftp: put, ls, rename over, chmod, get, rm."""
    batch = f"put {carried} a\nput {carried} b\nrename a b\nchmod 600 b\nls -la\nmkdir d\ncd d\nlcd {carried.parent}\nget ../b got\nrm ../b\nrmdir ../d\n"
    ran = run([require("sftp"), *door.options(), "-P", str(door.port), "-b", "-", door.target], stdin=batch.encode())
    assert ran.returncode == 0, ran.stderr.decode()
    assert carried.with_name("got").read_bytes() == carried.read_bytes()


def test_rsync_when_it_sends_a_folder_then_it_is_the_same_there(door: Door, carried: Path) -> None:
    """rsync by exec, twice: the second time nothing is sent."""
    ssh = " ".join(["ssh", *door.options(), "-p", str(door.port)])
    command: list[str | Path] = [require("rsync"), "-ai", "-e", ssh, carried, f"{door.target}:mirror/"]
    first, second = run(command), run(command)
    assert first.returncode == 0, first.stderr.decode()
    assert (second.returncode, second.stdout) == (0, b"")
    assert _home(door, "mirror/carried").read_bytes() == carried.read_bytes()


def test_dbclient_when_it_runs_a_command_then_status_and_output_come(door: Door) -> None:
    """Dropbear's client, with a key of its own form."""
    dbclient = require("dbclient")
    key = door.folder.parent / "dropbear_key"
    made = run([dbclient.with_name("dropbearkey"), "-t", "ed25519", "-f", key])
    public = next(line for line in made.stdout.decode().splitlines() if line.startswith("ssh-ed25519"))
    write_whole(door.folder / "authorized_keys", f"{public}\n")
    ran = run([dbclient, "-y", "-y", "-i", key, "-p", str(door.port), door.target, "echo out; exit 4"], env=_HOME)
    assert (ran.returncode, ran.stdout) == (4, b"out\n"), ran.stderr.decode()


_HOME = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def test_plink_and_psftp_when_used_then_they_work(door: Door, carried: Path) -> None:
    """PuTTY's own, with a host key given by its fingerprint."""
    plink = require("plink")
    key = door.folder.parent / "putty.ppk"
    made = run([require("puttygen"), door.key, "-O", "private", "-o", key])
    assert made.returncode == 0, made.stderr.decode()
    shown = run([require("ssh").with_name("ssh-keygen"), "-lf", door.folder.parent / "host_key.pub"]).stdout.split()[1]
    common: list[str | Path] = ["-batch", "-i", key, "-P", str(door.port), "-hostkey", shown.decode()]
    ran = run([plink, "-ssh", *common, door.target, "echo out; echo err >&2; exit 4"], env=_HOME)
    assert (ran.returncode, ran.stdout, ran.stderr) == (4, b"out\n", b"err\n")
    batch = f"put {carried} sent\nget sent {carried.with_name('back')}\nrm sent\n"
    script = write_whole(carried.with_name("batch"), batch)
    moved = run([plink.with_name("psftp"), *common, "-b", script, door.target], env=_HOME)
    assert moved.returncode == 0, moved.stdout.decode() + moved.stderr.decode()
    assert carried.with_name("back").read_bytes() == carried.read_bytes()


def test_asyncssh_when_used_then_commands_terminals_and_files_work(door: Door, carried: Path) -> None:
    """Status, signal, terminal and sftp by another library's client."""

    async def work() -> None:
        async with asyncssh.connect(
            "127.0.0.1", door.port, username=door.login_user, client_keys=[str(door.key)], known_hosts=None, config=[]
        ) as connection:
            ran = await connection.run("echo out; echo err >&2; exit 4")
            assert (ran.exit_status, ran.stdout, ran.stderr) == (4, "out\n", "err\n")
            ended = await connection.run("kill -KILL $$")
            assert ended.exit_signal is not None
            assert ended.exit_signal[0] == "KILL"
            at_terminal = await connection.run("stty size", term_type="xterm", term_size=(101, 37))
            assert at_terminal.stdout == "37 101\r\n"
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(carried), "sent")
                await sftp.get("sent", str(carried.with_name("back")))
                await sftp.remove("sent")

    asyncio.run(asyncio.wait_for(work(), 30))
    assert carried.with_name("back").read_bytes() == carried.read_bytes()


def test_paramiko_when_used_then_commands_and_files_work(door: Door, carried: Path) -> None:
    """The library that the door is built on, as a client."""
    with door.connect() as client:
        _, stdout, _ = client.exec_command("exit 4")
        assert stdout.channel.recv_exit_status() == 4
        with client.open_sftp() as sftp:
            sftp.put(str(carried), "sent")
            sftp.get("sent", str(carried.with_name("back")))
            sftp.remove("sent")
    assert carried.with_name("back").read_bytes() == carried.read_bytes()


@pytest.fixture
def certified(users: Users, scratch: Path, programs: Programs) -> Door:
    """A door whose host key has a certificate of ``host_ca``."""
    keygen = require("ssh").with_name("ssh-keygen")
    for name in ("host_ca", "host_key"):
        make_ssh_key(scratch / name)
    words: list[str | Path] = [
        "-q",
        "-s",
        scratch / "host_ca",
        "-I",
        "door",
        "-h",
        "-n",
        "d-aaaaaaaaaaaaaaaa",
        scratch / "host_key.pub",
    ]
    assert run([keygen, *words]).returncode == 0
    return start_door(programs, scratch, users.login, host_certificate=str(scratch / "host_key-cert.pub"))


@pytest.mark.feature("B3")
@pytest.mark.threat("relay-poses")
@pytest.mark.parametrize(("alias", "status"), [("d-aaaaaaaaaaaaaaaa", 0), ("d-bbbbbbbbbbbbbbbb", 255)])
def test_ssh_when_the_host_key_is_certified_then_the_authority_is_enough(
    certified: Door, scratch: Path, alias: str, status: int
) -> None:
    """The known_hosts line that the console prints, with the strictest client, and only for the certificate's own device."""
    door = certified
    known = write_whole(scratch / "known", f"@cert-authority {alias} {(scratch / 'host_ca.pub').read_text()}")
    options: list[str | Path] = ["-F", "none", "-i", door.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    options += ["-o", f"UserKnownHostsFile={known}", "-o", f"HostKeyAlias={alias}", "-p", str(door.port)]
    ran = run([require("ssh"), *options, door.target, "true"])
    assert ran.returncode == status, ran.stderr.decode()


def test_dbclient_when_it_guesses_the_key_exchange_wrongly_then_it_is_heard_all_the_same(certified: Door) -> None:
    """A packet is sent ahead on a guess, which is wrong where a certificate is offered first; paramiko alone would take it."""
    dbclient, key = require("dbclient"), certified.folder.parent / "dropbear_key"
    made = run([dbclient.with_name("dropbearkey"), "-t", "ed25519", "-f", key])
    public = next(line for line in made.stdout.decode().splitlines() if line.startswith("ssh-ed25519"))
    write_whole(certified.folder / "authorized_keys", f"{public}\n")
    ran = run([dbclient, "-y", "-y", "-i", key, "-p", str(certified.port), certified.target, "echo out"], env=_HOME)
    assert (ran.returncode, ran.stdout) == (0, b"out\n"), ran.stderr.decode()
