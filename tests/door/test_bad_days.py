"""Bad days of the embedded door: strangers without manners, clients that take and never read, and an end that comes."""

import shlex
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import paramiko
import pytest
from doorward_door.listening import ENOUGH_S, LOGIN_GRACE_S, MOST_STRANGERS
from doorward_door.serving import MOST_CHANNELS
from doorward_door.transport import WINDOW_BYTES
from paramiko.common import MSG_USERAUTH_INFO_RESPONSE
from paramiko.packet import Packetizer

from tests.door.standing import BANNER, Door
from tests.fuzz.strangers import talk
from tests.parts.installed import require
from tests.parts.ports import is_listening
from tests.parts.processes import run
from tests.parts.waiting import wait_until
from tests.runner.site import is_running

MUCH_BYTES: Final = 1_000_000_000
LESS_BYTES: Final = 200_000_000
"""The other way takes the same path."""
BOUND_KIB: Final = 24 * 1024
"""What a session with full windows may cost: two windows, pieces under way, threads."""


def _is_closed(stream: socket.socket, within_s: float) -> bool:
    """Tell whether the other end hangs up."""
    stream.settimeout(within_s)
    try:
        while stream.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def _pour(into: Any, piece: bytes, times: int) -> None:
    for _ in range(times):
        into.sendall(piece)


def test_door_when_a_version_line_does_not_end_then_it_hangs_up_and_keeps_nothing(door: Door) -> None:
    """paramiko would read it into memory for as long as it comes."""
    before = door.memory_kib()
    with door.raw() as stream:
        stream.settimeout(10)
        assert stream.recv(200).startswith(b"SSH-2.0-doorward")
        with pytest.raises(ConnectionError):
            _pour(stream, b"x" * 65_536, 400)
    assert door.memory_kib() - before < 2048
    assert door.ssh("true").returncode == 0


def test_door_when_a_stranger_names_a_number_of_answers_that_nobody_asked_for_then_it_hangs_up_at_once(
    door: Door,
) -> None:
    """One packet of five bytes kept a thread busy for hours, and filled the memory with billions of empty answers."""
    assert door.ssh("true").returncode == 0
    threads, before = door.threads(), door.memory_kib()
    assert talk(door.port, [bytes([MSG_USERAUTH_INFO_RESPONSE]) + b"\xff" * 4])
    wait_until(lambda: door.threads() <= threads, 3, "the stranger's thread to end")
    assert door.memory_kib() - before < 2048


@pytest.mark.parametrize("size", [0xFFFFFFFC, 300_004, 64_000_004])
def test_door_when_a_packet_is_said_to_be_huge_then_it_hangs_up_before_reading_it(door: Door, size: int) -> None:
    """Before anybody has proved a key, a length of four gigabytes is only a number."""
    before = door.memory_kib()
    with door.raw() as stream:
        stream.sendall(b"SSH-2.0-rude\r\n" + struct.pack(">IB", size, 4))
        with suppress(OSError):
            _pour(stream, bytes(65_536), 100)
        assert _is_closed(stream, 5)
    assert door.memory_kib() - before < 4096


def test_door_when_hundreds_of_strangers_came_and_hung_up_then_nothing_of_them_stays(door: Door) -> None:
    """Whoever is gone takes no place, so there may be hundreds in a few seconds: a thread that outlived each would be one for each."""
    assert door.ssh("true").returncode == 0
    threads, memory_kib = door.threads(), door.memory_kib()
    for _ in range(300):
        with door.raw() as stranger:
            stranger.sendall(b"SSH-2.0-stranger\r\n")
            stranger.shutdown(socket.SHUT_WR)
            assert _is_closed(stranger, 5)
    wait_until(lambda: door.threads() <= threads, 2, "the strangers' threads to end")
    assert door.memory_kib() - memory_kib < 2048
    assert door.ssh("true").returncode == 0


def test_door_when_strangers_wait_then_there_is_room_for_so_many_and_the_next_waits_for_a_place(door: Door) -> None:
    """Who proves nothing takes one of a few places, and gives it back when gone."""
    with ExitStack() as waiting:
        strangers = [waiting.enter_context(door.raw()) for _ in range(MOST_STRANGERS)]
        for stranger in strangers:
            stranger.sendall(b"SSH-2.0-stranger\r\n")
            assert f" doorward-{BANNER}\r\n".encode() in stranger.recv(200)  # its keys may come with it
        with door.raw() as one_more:
            one_more.settimeout(0.5)
            with pytest.raises(TimeoutError):
                one_more.recv(1)
            strangers[0].close()
            one_more.settimeout(10)
            assert one_more.recv(1)
        wait_until(lambda: door.ssh("true").returncode == 0, 10, "room for an engineer")


def test_door_when_strangers_take_every_place_again_at_once_then_an_engineer_waits_his_turn_and_comes_in(
    door: Door,
) -> None:
    """A scanner that connects anew whenever it is hung up on shuts nobody out: who has had time enough makes room for whoever came first."""
    over, held_s = threading.Event(), list[float]()
    scanners = [threading.Thread(target=_scan, args=(door, over, held_s)) for _ in range(MOST_STRANGERS + 8)]
    for scanner in scanners:
        scanner.start()
    try:
        assert door.ssh("true", limit_s=LOGIN_GRACE_S).returncode == 0
        assert min(held_s) < ENOUGH_S  # and not only once paramiko itself waits no longer for their first line
    finally:
        over.set()
        door.program.end()  # and hangs up on all of them
        for scanner in scanners:
            scanner.join()


def _scan(door: Door, over: threading.Event, held_s: list[float]) -> None:
    """Connect and say nothing, again and again, as fast as one is hung up on; notes how long that took each time."""
    while not over.is_set():
        with suppress(OSError), door.raw() as stream:
            began = time.monotonic()
            _is_closed(stream, 30)
            held_s.append(time.monotonic() - began)


def test_door_when_a_stranger_proves_no_key_within_20_s_then_it_is_hung_up_on(door: Door) -> None:
    """Also one that exchanges keys as it should, and then only waits; an engineer meanwhile stays."""
    with door.connect() as engineer, paramiko.Transport(door.raw()) as stranger:
        began = time.monotonic()
        stranger.start_client(timeout=10)
        wait_until(lambda: not stranger.is_active(), LOGIN_GRACE_S + 8, "the hang-up")
        assert time.monotonic() - began > LOGIN_GRACE_S - 5
        assert engineer.exec_command("echo here")[1].read() == b"here\n"


def test_door_when_a_hundred_channels_are_opened_then_ten_are_and_the_rest_is_refused(door: Door) -> None:
    """A limit, told by the protocol's own refusal; what is closed makes room again."""
    with door.connect() as client:
        transport = client.get_transport()
        assert transport is not None
        tried = [_opened(transport) for _ in range(100)]
        opened = [each for each in tried if isinstance(each, paramiko.Channel)]
        assert set(tried) - set(opened) == {4}  # SSH_OPEN_RESOURCE_SHORTAGE
        assert len(opened) == MOST_CHANNELS
        for channel in opened:
            channel.exec_command("echo here")
            assert channel.recv(10) == b"here\n"
        for channel in opened:
            channel.close()
        again = transport.open_session()
        again.exec_command("true")
        assert again.recv_exit_status() == 0


def _opened(transport: paramiko.Transport) -> paramiko.Channel | int:
    """Open a session, or give the code with which it is refused."""
    try:
        return transport.open_session()
    except paramiko.ChannelException as error:
        return error.code


def test_door_when_a_client_stops_reading_then_what_yes_says_is_not_kept(door: Door) -> None:
    """The window is all that is ever under way: the process waits, and memory stays where it is."""
    with door.connect() as client:
        before = door.memory_kib()
        _, stdout, _ = client.exec_command("echo $$; exec yes")
        pid = int(stdout.readline())
        wait_until(lambda: _stands_still(pid), 20, "yes to stand still")
        assert door.memory_kib() - before < BOUND_KIB
    wait_until(lambda: not is_running(pid), 5, "the end of yes")


def _stands_still(pid: int) -> bool:
    """Tell whether a process waits in a write to a full pipe (proc(5): wchan may be hidden, the state is not)."""
    state, ticks = _state_and_ticks(pid)
    ends_at = time.monotonic() + 0.3
    while state == "S" and time.monotonic() < ends_at:
        state, now_ticks = _state_and_ticks(pid)
        if now_ticks != ticks:
            return False
    return state == "S"


def _state_and_ticks(pid: int) -> tuple[str, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def test_door_when_the_connection_itself_is_not_read_then_others_work_and_it_can_be_closed(door: Door) -> None:
    """A client whose TCP stands still holds its own connection, and no other."""
    client = door.connect()
    transport = client.get_transport()
    assert transport is not None
    before = door.memory_kib()
    channel = transport.open_session(window_size=1 << 30)
    stop = threading.Event()
    transport.packetizer = _Deaf(stop, transport.packetizer)  # type: ignore[assignment]
    with suppress(paramiko.SSHException, OSError):
        channel.settimeout(1)
        threading.Thread(target=lambda: _quietly(channel.exec_command, "exec yes"), daemon=True).start()
    wait_until(lambda: door.children() != [], 10, "yes")
    assert door.ssh("echo fine").stdout == b"fine\n"
    assert door.memory_kib() - before < BOUND_KIB
    stop.set()
    transport.sock.close()
    wait_until(lambda: door.children() == [], 10, "the end of yes")


class _Deaf:
    """A packetizer that writes as the real one does and reads nothing more until it is told to stop."""

    def __init__(self, stop: threading.Event, real: Packetizer) -> None:
        self._stop = stop
        self._real = real

    def read_message(self) -> None:
        self._stop.wait()
        raise EOFError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _quietly(act: object, *arguments: object) -> None:
    with suppress(paramiko.SSHException, OSError, EOFError):
        act(*arguments)  # type: ignore[operator]


def test_door_when_a_client_sends_beyond_the_window_then_it_is_hung_up_on(door: Door) -> None:
    """paramiko's server does not count; a process that reads nothing must not make us hold everything."""
    with door.connect() as client:
        before = door.memory_kib()
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.exec_command("sleep 60")
        channel.out_window_size = 1 << 31  # what an honest client never assumes
        with pytest.raises((OSError, EOFError)):
            _pour(channel, bytes(1_000_000), 64)
        wait_until(lambda: not transport.is_active(), 10, "the hang-up")
    assert door.memory_kib() - before < BOUND_KIB + 3 * WINDOW_BYTES // 1024


@pytest.mark.timeout(180)
def test_door_when_much_is_sent_each_way_then_all_of_it_comes_and_little_is_kept(door: Door) -> None:
    """A large file either way costs two windows of memory, not its size."""
    before, most = door.memory_kib(), [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], door.memory_kib())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        words = [str(require("ssh")), *map(str, door.options()), "-p", str(door.port), door.target]
        down = run(["/bin/sh", "-c", f"{shlex.join(words)} 'head -c {MUCH_BYTES} /dev/zero' | wc -c"], limit_s=100)
        assert int(down.stdout) == MUCH_BYTES, down.stderr.decode()
        up = door.ssh("wc -c", stdin=bytes(LESS_BYTES), limit_s=40)
        assert int(up.stdout) == LESS_BYTES
    finally:
        done.set()
        watching.join()
    assert most[0] - before < BOUND_KIB


def test_door_when_its_end_is_reached_then_it_closes_itself(door: Door) -> None:
    """The third closer: even with keeper and runner gone, nobody is served past the end; a moved end is heard."""
    with door.connect() as client:
        _, stdout, _ = client.exec_command("echo $$; exec cat")
        pid = int(stdout.readline())
        door.set_end(2)
        wait_until(lambda: not door.program.is_running, 6, "the door's own end")
        wait_until(lambda: not is_running(pid), 5, "the command, which reads from nobody now")
    assert not is_listening(door.port)


def test_door_when_its_end_has_passed_then_no_key_is_admitted(door: Door) -> None:
    """At the log-in, too: whoever dialled before the end and proves a key after it is refused."""
    with paramiko.Transport(door.raw()) as transport:
        transport.start_client(timeout=10)
        door.set_end(-1)
        with pytest.raises((paramiko.SSHException, EOFError)):
            transport.auth_publickey(door.login_user, paramiko.Ed25519Key(filename=str(door.key)))
        assert not transport.is_authenticated()


def test_door_when_its_keys_are_changed_then_the_new_ones_count_at_once(door: Door) -> None:
    """A higher revision of the grant may name other engineers."""
    (door.folder / "authorized_keys").write_text("")
    assert door.ssh("true").returncode == 255
    public = door.key.with_suffix(".pub").read_text()
    (door.folder / "authorized_keys").write_text(f'command="id" {public}\n# {public}')
    assert door.ssh("true").returncode == 255
    (door.folder / "authorized_keys").write_text(public)
    assert door.ssh("true").returncode == 0
