"""What is asked of a running ssh over its control socket, and who may answer; that a real one grants and refuses, the tunnel's tests show."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from doorward_agent.edges.ssh_control import LOOK_S, is_granted
from doorward_protocol.orders import Forward
from doorward_protocol.targets import Target

pytestmark = pytest.mark.feature("E8")

FORWARD = Forward("ssh", "door", "*", 4711)
PLACE = Target("127.0.0.1", 2222)
HELLO = struct.pack(">III", 8, 1, 4)
OK = struct.pack(">III", 8, 0x80000001, 0)
FAILURE = struct.pack(">III", 8, 0x80000003, 0)

Answering = Callable[[Path, bytes], Callable[[], bytes]]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Stand where a master would, answer the first who comes with these bytes, and give what he said until he went."""
    open_ones: list[socket.socket] = []

    def answer(folder: Path, said: bytes) -> Callable[[], bytes]:
        listening, heard = socket.socket(socket.AF_UNIX), list[bytes]()
        open_ones.append(listening)
        listening.bind(str(folder / "control"))
        listening.listen()

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as caller:
                caller.sendall(said)
                caller.settimeout(5)
                while piece := caller.recv(1000):
                    heard.append(piece)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()

        def all_of_it() -> bytes:
            serving.join(5)
            return b"".join(heard)

        return all_of_it

    yield answer
    for one in open_ones:
        one.close()


def test_forward_when_the_master_grants_it_then_it_was_asked_as_ssh_itself_asks(
    answering: Answering, tmp_path: Path
) -> None:
    """OpenSSH's PROTOCOL.mux: a hello, and then a forward of the remote kind, from where to where."""
    heard = answering(tmp_path, HELLO + OK)
    assert is_granted(tmp_path, "control", FORWARD, PLACE, 5, lambda: None)
    listen, connect = b"\0\0\0\1*" + struct.pack(">I", 4711), b"\0\0\0\t127.0.0.1" + struct.pack(">I", 2222)
    asked = struct.pack(">III", 0x10000006, 0, 2) + listen + connect
    assert heard() == HELLO + struct.pack(">I", len(asked)) + asked


def test_forward_when_the_master_takes_its_time_then_something_is_done_meanwhile(
    answering: Answering, tmp_path: Path
) -> None:
    """A relay that waits for an acknowledgement of ours gets one, as often as it may need it."""
    done: list[float] = []
    answering(tmp_path, HELLO)
    assert not is_granted(tmp_path, "control", FORWARD, PLACE, 0.3, lambda: done.append(0))
    assert 0.3 / LOOK_S / 10 < len(done) <= 0.3 / LOOK_S + 1


@pytest.mark.parametrize(
    "said",
    [HELLO + FAILURE, HELLO, b"", struct.pack(">III", 8, 1, 3) + OK, OK + OK, HELLO + b"\xff" * 8, b"\0\0\0\1x", HELLO + b"\0\0\0\0"],
    ids=["refused", "then silent", "silent", "another version", "no hello", "endless", "short hello", "empty answer"],
)  # fmt: skip
def test_forward_when_the_answer_is_anything_else_then_it_is_not_granted(
    answering: Answering, tmp_path: Path, said: bytes
) -> None:
    """Also where nothing more comes: the tunnel's thread waits for so long, and not for ever."""
    answering(tmp_path, said)
    assert not is_granted(tmp_path, "control", FORWARD, PLACE, 0.3, lambda: None)


def test_forward_when_no_master_is_there_then_it_is_not_granted(tmp_path: Path) -> None:
    """It has ended, or its socket is gone with its folder; whoever left a socket behind is not there either."""
    assert not is_granted(tmp_path, "control", FORWARD, PLACE, 5, lambda: None)
    assert not is_granted(tmp_path / "none", "control", FORWARD, PLACE, 5, lambda: None)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control"))
    assert not is_granted(tmp_path, "control", FORWARD, PLACE, 5, lambda: None)


def test_forward_when_the_folders_name_is_long_then_the_master_is_found_all_the_same(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's name has 108 bytes; ssh made it from inside the folder."""
    folder = tmp_path / ("f" * 120)
    folder.mkdir()
    monkeypatch.chdir(folder)
    answering(Path(), HELLO + OK)
    assert is_granted(folder, "control", FORWARD, PLACE, 5, lambda: None)
