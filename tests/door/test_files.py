"""sftp behind the embedded door: what the login user may do, whatever a path looks like, and no more."""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from doorward_door.files import MOST_HANDLES

from tests.door.standing import Door
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until

REFUSED = "denied|Failure"


@pytest.fixture
def sftp(door: Door) -> Iterator[paramiko.SFTPClient]:
    """A client in a fresh folder of the login user's home."""
    with door.connect() as client, client.open_sftp() as opened:
        opened.mkdir("files")
        opened.chdir("files")
        yield opened
        client.exec_command("rm -rf files")[1].read()


@pytest.mark.feature("T5")
def test_files_when_written_and_read_then_every_verb_does_what_it_says(sftp: paramiko.SFTPClient) -> None:
    """Write, read, append, cut, mode, times, rename, list, remove."""
    with sftp.open("one", "w") as file:
        file.write(b"0123456789")
    sftp.chmod("one", 0o640)
    sftp.utime("one", (1000, 2000))
    found = sftp.stat("one")
    assert (found.st_size, found.st_mode and found.st_mode & 0o7777, found.st_mtime) == (10, 0o640, 2000)
    sftp.truncate("one", 4)
    with sftp.open("one", "a") as file:
        file.write(b"x")
    with sftp.open("one") as file:
        assert file.read() == b"0123x"
        file.seek(2)
        assert file.read(2) == b"23"
    with sftp.open("two", "w") as file:
        file.write(b"two")
    with pytest.raises(OSError, match="Failure"):
        sftp.rename("one", "two")
    sftp.posix_rename("one", "two")
    assert sftp.listdir() == ["two"]
    sftp.mkdir("folder")
    sftp.rmdir("folder")
    sftp.remove("two")
    assert sftp.listdir() == []


def test_files_when_not_cut_to_nothing_then_truncate_keeps_what_is_before(sftp: paramiko.SFTPClient) -> None:
    """paramiko's own way of setting a size empties the file first."""
    with sftp.open("kept", "w") as file:
        file.write(b"keep this, not that")
    sftp.truncate("kept", 9)
    with sftp.open("kept") as file:
        assert file.read() == b"keep this"


@pytest.mark.threat("login-other-user")
def test_files_when_paths_and_links_lead_elsewhere_then_the_kernel_decides(
    sftp: paramiko.SFTPClient, door: Door
) -> None:
    """Links and dots lead where they lead in a shell, and nowhere that the login user may not go."""
    secret = write_whole(door.folder.parent / "secret", "root's", 0o600)
    host_key = door.folder.parent / "host_key"
    sftp.symlink(str(secret), "link")
    assert sftp.readlink("link") == str(secret)
    assert sftp.lstat("link").st_size == len(str(secret))
    ways = ["link", str(secret), "../../.." + str(secret), f"/proc/self/root{secret}", str(host_key), "/etc/shadow"]
    ways += ["/proc/self/mem", "/proc/self/environ", "/proc/thread-self/mem", f"/proc/{door.program.pid}/mem"]
    ways += [str(door.folder / "embedded.json")]
    for way in ways:
        with pytest.raises(OSError, match=REFUSED):
            sftp.open(way).read(1)
    for name in ("authorized_keys", "end"):
        for change in (lambda way: sftp.open(way, "w"), sftp.remove, lambda way: sftp.chmod(way, 0o666)):
            with pytest.raises(OSError, match=REFUSED):
                change(str(door.folder / name))
    with pytest.raises(OSError, match=REFUSED):
        sftp.chown("link", 0, 0)
    assert sftp.normalize("../files/./x/..").endswith(f"/home/{door.login_user}/files")
    assert secret.read_text() == "root's"
    sftp.symlink("/etc/hosts", "hosts")
    assert sftp.open("hosts").read(10)


def test_files_when_read_without_end_then_memory_is_bounded(sftp: paramiko.SFTPClient, door: Door) -> None:
    """A client that asks for a gigabyte of /dev/zero in one answer gets a quarter of a megabyte."""
    with sftp.open("/dev/zero") as zero:
        before = door.memory_kib()
        piece = sftp._request(paramiko.sftp.CMD_READ, zero.handle, paramiko.sftp.int64(0), 1 << 30)  # type: ignore[attr-defined]
        assert len(piece[1].get_string()) == 262_144
        assert door.memory_kib() - before < 16_384


def test_files_when_large_folders_are_listed_then_none_is_held_and_each_gives_its_place_back(
    sftp: paramiko.SFTPClient, door: Door
) -> None:
    """Names go over as they are asked for, all of them; a client that opens folder after folder is not remembered."""
    assert sorted(sftp.listdir("/usr/bin")) == sorted(os.listdir("/usr/bin"))  # noqa: PTH208 - names alone
    before = door.memory_kib()
    handles = [sftp._request(paramiko.sftp.CMD_OPENDIR, "/usr/bin")[1].get_binary() for _ in range(MOST_HANDLES)]  # type: ignore[attr-defined]
    assert door.memory_kib() - before < 8192
    for handle in handles:
        sftp._request(paramiko.sftp.CMD_CLOSE, handle)  # type: ignore[attr-defined]
    assert sftp.listdir("/usr/bin")


def test_files_when_a_packet_is_said_to_be_huge_then_the_channel_ends_before_it_is_gathered(door: Door) -> None:
    """A request of 16 MiB is none; ten of them at once would be held several times over."""
    with door.connect() as client:
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.invoke_subsystem("sftp")
        before = door.memory_kib()
        channel.sendall(struct.pack(">IBI", 5, 1, 3))  # INIT, version 3
        with suppress(OSError):
            channel.sendall(struct.pack(">I", (1 << 24) - 1) + bytes(15 << 20))
        wait_until(lambda: channel.closed, 10, "the channel's end")
        assert door.memory_kib() - before < 8192


def test_files_when_a_pipe_or_too_many_files_are_opened_then_the_session_goes_on(
    sftp: paramiko.SFTPClient, door: Door
) -> None:
    """A named pipe that nobody writes to holds nobody; open files are bounded and given back."""
    made = door.ssh("mkfifo files/pipe; cd files; touch a")
    assert made.returncode == 0
    with pytest.raises(OSError, match=REFUSED):
        sftp.open("pipe").read(1)
    with pytest.raises(OSError, match=REFUSED):
        sftp.open("pipe", "w")
    opened = []
    with pytest.raises(OSError, match=REFUSED):
        opened = [sftp.open("a") for _ in range(200)]
    assert opened == []
    with pytest.raises(OSError, match=REFUSED):
        opened = [sftp._request(paramiko.sftp.CMD_OPENDIR, ".") for _ in range(200)]  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=REFUSED):
        sftp.stat("a\0b")
    assert sftp.stat("a").st_size == 0


def test_files_when_the_connection_breaks_then_open_ones_are_closed(door: Door) -> None:
    """Descriptors of a client that is gone are given back."""
    fds = Path(f"/proc/{door.program.pid}/fd")

    def held() -> int:
        return sum(os.path.realpath(fd) == "/etc/hosts" for fd in fds.iterdir())

    client = door.connect()
    sftp = client.open_sftp()
    handles = [sftp.open("/etc/hosts") for _ in range(20)]
    assert held() == 20
    client.close()
    wait_until(lambda: held() == 0, 10, "descriptors")
    assert len(handles) == 20


def test_files_when_a_name_is_no_utf8_then_the_folder_is_still_listed(sftp: paramiko.SFTPClient, door: Door) -> None:
    """One odd name does not hide the others."""
    os.close(os.open(f"/home/{door.login_user}/files".encode() + b"/\xff", os.O_CREAT, 0o644))
    with sftp.open("plain", "w") as file:
        file.write(b"x")
    assert sorted(sftp.listdir()) == ["plain", "\N{REPLACEMENT CHARACTER}"]
