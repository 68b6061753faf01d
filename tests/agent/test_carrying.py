"""What a tunnel carries: all of it, both ways, for many at once, whoever dials; and what it keeps: nothing."""

import hashlib
import os
import queue
import secrets
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from doorward_agent import events

from tests.agent.scripted import children, tunnel_children
from tests.agent.tunnels import TUNNELS, Bench
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.parametrize("tunnel", TUNNELS)

MIB = 1024 * 1024
BULK = secrets.token_bytes(MIB) * 50
AT_REST = {"ssh": 1, "paramiko": 5}
"""Threads of a tunnel that nobody visits; the last of them begins after the tunnel stands."""


STALLED = {"ssh": 10, "paramiko": 40}
"""Visitors who do not read: ssh gives each the same window, paramiko of ours the later ones a small one."""
MOST_KEPT_MIB = {"ssh": 80, "paramiko": 40}
"""What all of STALLED may hold, of the 500 and 2,000 MiB that wait to be sent.

ssh: a window of 2 MiB for each, in a buffer that is packed when half of it is spent and grows by copying, so up to
4 MiB and the holes that the copies leave: 10 to 31 MiB seen in quiet, 42 in haste.
"""


@dataclass(slots=True)
class Pair:
    """Both ends of one carried connection."""

    visitor: socket.socket
    door: socket.socket


def visit(bench: Bench, ends: ExitStack) -> Pair:
    visitor = ends.enter_context(socket.create_connection(("127.0.0.1", bench.port), 20))
    bench.door.settimeout(20)
    door = ends.enter_context(bench.door.accept()[0])
    door.settimeout(20)
    return Pair(visitor, door)


def digest_of_all(connection: socket.socket) -> str:
    digest = hashlib.sha256()
    while came := connection.recv(MIB):
        digest.update(came)
    return digest.hexdigest()


def send_all(connection: socket.socket, content: bytes) -> None:
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)


def test_tunnel_when_fifty_mib_go_each_way_at_once_then_both_arrive_whole(bench: Bench, ends: ExitStack) -> None:
    """What goes in at one end comes out at the other, in both directions at the same time."""
    bench.open()
    pair = visit(bench, ends)
    other = BULK[::-1]
    with ThreadPoolExecutor(4) as threads:
        threads.submit(send_all, pair.visitor, BULK)
        threads.submit(send_all, pair.door, other)
        arrived = threads.submit(digest_of_all, pair.door), threads.submit(digest_of_all, pair.visitor)
        assert [one.result(60) for one in arrived] == [hashlib.sha256(text).hexdigest() for text in (BULK, other)]


def test_tunnel_when_fifty_visit_at_once_then_each_is_answered(bench: Bench, ends: ExitStack, tunnel: str) -> None:
    """Fifty connections at once are carried, each with its own words, and leave no thread behind."""
    bench.open()
    (child,) = tunnel_children(os.getpid())
    pairs = [visit(bench, ends) for _ in range(50)]
    doors = {}
    for pair in pairs:
        pair.visitor.sendall(pair.visitor.getsockname()[1].to_bytes(2, "big") * 500)
    for pair in pairs:
        said = b""
        while len(said) < 1000:
            said += pair.door.recv(1000)
        doors[said] = pair.door
        pair.door.sendall(said)
    for pair in pairs:
        word = pair.visitor.getsockname()[1].to_bytes(2, "big") * 500
        assert word in doors
        back = b""
        while len(back) < 1000:
            back += pair.visitor.recv(1000)
        assert back == word
    ends.close()
    wait_until(lambda: threads_of(child) == AT_REST[tunnel], what="the threads' end")


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.parametrize("first", ["visitor", "door"])
def test_tunnel_when_one_side_has_said_all_then_the_other_may_still_answer(
    bench: Bench, ends: ExitStack, first: str
) -> None:
    """The end of one direction is passed on and ends no more than that direction."""
    bench.open()
    pair = visit(bench, ends)
    one, other = (pair.visitor, pair.door) if first == "visitor" else (pair.door, pair.visitor)
    send_all(one, b"that is all")
    assert digest_of_all(other) == hashlib.sha256(b"that is all").hexdigest()
    send_all(other, BULK[:MIB])
    assert digest_of_all(one) == hashlib.sha256(BULK[:MIB]).hexdigest()


def test_tunnel_when_a_visitor_is_gone_then_the_door_hears_of_it(bench: Bench, ends: ExitStack, tunnel: str) -> None:
    """A visitor who hangs up in the middle of an answer leaves no connection to the door, though the door says no more."""
    bench.open()
    (child,) = tunnel_children(os.getpid())
    pair = visit(bench, ends)
    pair.visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.visitor.close()
    assert pair.door.recv(1) == b""
    pair.door.sendall(b"still there?")
    wait_until(lambda: threads_of(child) == AT_REST[tunnel], what="the threads' end")
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        wait_until(lambda: pair.door.send(b"still there?") == 0)


@pytest.mark.parametrize("slow", ["visitor", "door"])
def test_tunnel_when_one_does_not_read_then_others_are_served_and_memory_is_bounded(
    bench: Bench, ends: ExitStack, tunnel: str, slow: str
) -> None:
    """Who does not read holds up nobody else, and what is sent to them waits at the sender."""
    bench.open()
    (child,) = tunnel_children(os.getpid())
    before = resident_bytes(child)
    stalled = [visit(bench, ends) for _ in range(STALLED[tunnel])]
    for pair in stalled:
        sender = pair.door if slow == "visitor" else pair.visitor
        threading.Thread(target=push, args=(sender,), daemon=True).start()
    quick = visit(bench, ends)
    for _ in range(20):
        send(quick.visitor, quick.door)
        send(quick.door, quick.visitor)
    senders = [pair.door if slow == "visitor" else pair.visitor for pair in stalled]
    looks: list[int] = []

    def are_stuck() -> bool:
        """Nobody can send, and the child has had nothing to do for a hundred looks, longer than new keys take."""
        is_flowing = bool(select.select([], senders, [], 0)[1])
        looks.append(cpu_ticks(child) + (1_000_000 * len(looks) if is_flowing else 0))
        return len(looks) > 100 and looks[-1] - looks[-100] <= 5

    wait_until(are_stuck, 30, "a jam", closely=True)
    send(quick.visitor, quick.door)
    assert resident_bytes(child) - before < MOST_KEPT_MIB[tunnel] * MIB


def push(sender: socket.socket) -> None:
    try:
        sender.sendall(BULK)
    except OSError:
        return


def send(one: socket.socket, other: socket.socket) -> None:
    one.sendall(b"ping")
    assert other.recv(4, socket.MSG_WAITALL) == b"ping"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.feature("E9")
def test_tunnel_when_the_relay_freezes_then_it_is_lost_after_three_signs_of_life(bench: Bench) -> None:
    """A relay that stops answering, its TCP connection as good as ever, is noticed."""
    bench.open()
    frozen = list(descendants(bench.relay.sshd.program.pid))
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert bench.next() == events.TunnelFailed(1, "tunnel.lost")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def test_tunnel_when_it_is_idle_then_signs_of_life_keep_it(bench: Bench, ends: ExitStack) -> None:
    """A tunnel that carries nothing for longer than a relay may be silent stays."""
    bench.open()
    with pytest.raises(queue.Empty):
        bench.events.get(timeout=5)
    pair = visit(bench, ends)
    send(pair.visitor, pair.door)


def test_tunnel_when_the_door_is_too_busy_to_accept_then_others_are_served(bench: Bench, ends: ExitStack) -> None:
    """A door that lets visitors wait for their connection holds up nobody who has one."""
    bench.open()
    quick = visit(bench, ends)
    bench.door.listen(0)
    for _ in range(5):
        ends.enter_context(socket.create_connection(("127.0.0.1", bench.port), 5))
    for _ in range(50):
        send(quick.visitor, quick.door)


def test_tunnel_when_keys_are_renewed_while_visitors_come_and_go_then_nobody_notices(
    bench: Bench, ends: ExitStack
) -> None:
    """A relay that renews its keys in the middle of everything loses nothing of it."""
    bench.open()
    bulky = visit(bench, ends)
    content = BULK[: 24 * MIB]
    with ThreadPoolExecutor(2) as threads:
        threads.submit(send_all, bulky.visitor, content)
        arrived = threads.submit(digest_of_all, bulky.door)
        while not arrived.done():
            with ExitStack() as brief:
                pair = visit(bench, brief)
                send(pair.visitor, pair.door)
    assert arrived.result() == hashlib.sha256(content).hexdigest()
