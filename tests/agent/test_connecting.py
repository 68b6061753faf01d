"""How the agent reaches a relay itself: resolvers that hang, addresses that swallow everything, and connections that nobody wants any more."""

import errno
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import NoReturn

import pytest
from doorward_agent import events
from doorward_agent.edges import ssh_command
from doorward_agent.edges.connecting import MOST_THREADS
from doorward_agent.edges.reachability import Address, connected, resolved

from tests.agent.scripted import tunnel_children
from tests.agent.tunnels import TUNNELS, Bench
from tests.parts.descriptors import tcp_sockets_of
from tests.parts.ports import taken
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.feature("E9")


class Resolver:
    """Answers what it is told to, and not before it is let go."""

    def __init__(self) -> None:
        self.first: list[Address] = []
        self.going = threading.Event()
        self.going.set()
        self.takes_s = 0.0
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.put(host)
        self.going.wait(20)
        time.sleep(self.takes_s)
        return [*self.first, *resolved(host, port)]


@pytest.fixture
def lookup() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.going.set()


@pytest.fixture(params=TUNNELS)
def tunnel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def swallowing(ends: ExitStack) -> Address:
    """Give an address whose port takes nobody and refuses nobody: its queue is full, so that the kernel drops what comes."""
    full = ends.enter_context(socket.socket())
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    for _ in range(3):
        knocking = ends.enter_context(socket.socket())
        knocking.setblocking(False)
        knocking.connect_ex(full.getsockname())
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", full.getsockname()


def to_the_relay(bench: Bench) -> int:
    """Count this process's own connections to the relay: its children have theirs."""
    with tcp_sockets_of(os.getpid()) as found:
        return sum(one.getpeername()[1] == bench.relay.sshd.port for one in found)


@pytest.mark.parametrize("limit_s", [6])
def test_tunnel_when_the_first_address_swallows_everything_then_the_next_is_taken_in_time(
    bench: Bench, lookup: Resolver, swallowing: Address
) -> None:
    """A device whose IPv6 leads nowhere comes to the relay by IPv4, within the time of one dial."""
    lookup.first = [swallowing]
    bench.open()


@pytest.mark.parametrize("limit_s", [6])
def test_tunnel_when_the_resolver_was_slow_too_then_the_addresses_share_what_is_left(
    bench: Bench, lookup: Resolver, swallowing: Address
) -> None:
    """The time of a dial is that of all its steps."""
    lookup.first = [swallowing]
    lookup.takes_s = 3.8
    bench.open()


@pytest.mark.parametrize("limit_s", [2])
def test_tunnel_when_all_that_is_sent_to_the_relay_is_swallowed_then_it_is_said_to_be_out_of_reach(
    bench: Bench, swallowing: Address
) -> None:
    """A filter on the way is somebody's to open; a relay that is slow is nobody's."""
    bench.dial(route=bench.relay.route(bench.certificate(), port=swallowing[4][1]))
    assert bench.next() == events.TunnelFailed(1, "tunnel.unreachable")


def test_connection_when_all_addresses_swallow_everything_then_the_limit_is_that_of_all(swallowing: Address) -> None:
    """Three addresses do not take three times as long."""
    began = time.monotonic()
    assert connected([swallowing] * 3, 0.6) is None
    assert 0.5 < time.monotonic() - began < 1.5


def test_tunnel_when_the_resolver_hangs_then_it_ends_at_once_and_what_is_reached_later_is_let_go(
    bench: Bench, lookup: Resolver
) -> None:
    """OFF waits for no resolver, and no connection stays that nobody wants any more."""
    lookup.going.clear()
    bench.dial()
    lookup.asked.get(timeout=5)
    bench.edge.end(1)
    began = time.monotonic()
    assert bench.next() == events.TunnelEnded(1)
    assert time.monotonic() - began < 2
    lookup.going.set()
    wait_until(lambda: not connecting(), 5, "the end of its thread")
    assert (to_the_relay(bench), tunnel_children(os.getpid())) == (0, [])
    assert bench.events.empty()


def connecting() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "connect"]


@pytest.mark.parametrize("limit_s", [2])
def test_tunnel_when_the_resolver_hangs_then_the_time_of_a_dial_is_the_same(bench: Bench, lookup: Resolver) -> None:
    """A name server that is silent is no reason to wait longer."""
    lookup.going.clear()
    bench.dial()
    assert bench.next() == events.TunnelFailed(1, "tunnel.timeout")
    lookup.going.set()
    wait_until(lambda: not connecting(), 5, "the end of its thread")


def test_tunnel_when_the_door_is_there_before_the_relay_is_reached_then_it_opens(
    bench: Bench, lookup: Resolver
) -> None:
    """A slow resolver loses nothing of what is told meanwhile."""
    lookup.going.clear()
    bench.dial()
    bench.edge.forward(1, bench.door_port)
    lookup.asked.get(timeout=5)
    lookup.going.set()
    assert bench.next() == events.TunnelOpened(1)


def test_tunnel_when_it_was_dialled_anew_then_what_the_first_dial_reaches_late_is_let_go(
    bench: Bench, lookup: Resolver
) -> None:
    """A connection that was made for another dial starts no second child, and is not kept."""
    held = lookup.going
    held.clear()
    bench.dial(1)
    lookup.asked.get(timeout=5)
    lookup.going = threading.Event()
    lookup.going.set()
    bench.open(2)
    held.set()
    wait_until(lambda: not connecting(), 5, "the end of its thread")
    bench.edge.end(2)
    assert bench.next() == events.TunnelEnded(2)
    assert (to_the_relay(bench), tunnel_children(os.getpid())) == (0, [])


def test_tunnel_when_it_is_open_then_its_connection_is_its_childs_alone(bench: Bench) -> None:
    """A child that is killed is gone for the relay in that moment: nobody else holds the connection open."""
    bench.open()
    assert to_the_relay(bench) == 0
    (child,) = tunnel_children(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert bench.next() == events.TunnelFailed(1, "tunnel.lost")


def test_tunnel_when_the_relay_hangs_up_then_it_hears_of_our_end_before_it_is_asked_why(bench: Bench) -> None:
    """What a dead child held is let go at once, however long it takes to find out who greets there."""
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def hang_up(listening: socket.socket) -> None:
        with listening.accept()[0] as first:
            first.shutdown(socket.SHUT_WR)
            with listening.accept()[0]:
                first.settimeout(2)
                heard.put(all_of(first))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
        bench.dial(route=bench.relay.route(bench.certificate(), port=listening.getsockname()[1]))
        assert heard.get(timeout=20) != HELD
        assert isinstance(bench.next(), events.TunnelFailed)


def test_tunnel_when_the_relay_is_too_busy_for_us_then_that_is_no_other_host_key(bench: Bench) -> None:
    """A relay at its limit of log-ins (MaxStartups) hangs up with a line, and greets the next: nobody is to be alarmed by that."""

    def turn_away(listening: socket.socket) -> None:
        with listening.accept()[0] as first:
            first.sendall(b"Exceeded MaxStartups\r\n")
        with listening.accept()[0] as second, suppress(ConnectionResetError):
            second.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            second.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=turn_away, args=(listening,), daemon=True).start()
        bench.dial(route=bench.relay.route(bench.certificate(), port=listening.getsockname()[1]))
        assert bench.next() == events.TunnelFailed(1, "tunnel.lost")


HELD = b"held open"


def all_of(connection: socket.socket) -> bytes:
    """Give what comes up to the other side's end, or HELD where that does not come."""
    said = b""
    try:
        while piece := connection.recv(1000):
            said += piece
    except TimeoutError:
        return HELD
    except ConnectionResetError:
        return said
    return said


@pytest.mark.parametrize(
    "ended", [lambda bench: bench.edge.end(1), lambda bench: bench.edge.stop()], ids=["end", "stop"]
)
def test_tunnel_when_it_ends_before_the_door_answers_then_its_connection_is_closed(
    bench: Bench, ended: Callable[[Bench], None]
) -> None:
    """Until then it is ours, too."""
    bench.dial()
    wait_until(lambda: tunnel_children(os.getpid()), 10, "the child")
    ended(bench)
    wait_until(lambda: (to_the_relay(bench), tunnel_children(os.getpid())) == (0, []), 5, "its end")


def test_tunnel_when_no_thread_is_left_then_it_is_tried_again_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device at its limit of threads keeps its agent."""

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        bench.dial()
        assert bench.next() == events.TunnelFailed(1, "tunnel.unreachable")
    bench.open(2)


def test_tunnel_when_the_resolver_never_returns_then_so_many_threads_wait_for_it_and_no_more(
    bench: Bench, lookup: Resolver
) -> None:
    """A device that dials each minute keeps its memory."""
    lookup.going.clear()
    for attempt in range(MOST_THREADS):
        bench.dial(attempt)
        lookup.asked.get(timeout=5)
    bench.dial(99)
    assert bench.next() == events.TunnelFailed(99, "tunnel.unreachable")
    assert len(connecting()) == MOST_THREADS
    lookup.going.set()
    wait_until(lambda: not connecting(), 5, "the end of the threads")
    bench.open(100)


def no_descriptor(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("step", ["tunnel.dialer_for", "reachability.socket.socket", "children.subprocess.Popen"])
def test_tunnel_when_no_descriptor_is_left_at_a_step_then_it_is_tried_again_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Neither loading who dials, nor a socket, nor the child ends the agent."""
    with monkeypatch.context() as patched:
        patched.setattr(f"doorward_agent.edges.{step}", no_descriptor)
        bench.dial(1)
        assert bench.next() == events.TunnelFailed(1, "tunnel.unreachable")
    bench.open(2)


@pytest.mark.parametrize("tunnel", ["ssh"])
def test_forward_when_no_descriptor_is_left_to_ask_why_then_it_was_refused_for_no_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question takes a program, the answer is a courtesy."""
    with taken(bench.port):
        bench.dial()
        wait_until((bench.run_dir / "tunnel" / ssh_command.CONTROL).exists, 10, "the admission")
        monkeypatch.setattr("doorward_agent.edges.children.run_briefly", no_descriptor)
        bench.edge.forward(1, bench.door_port)
        assert bench.next() == events.TunnelFailed(1, "tunnel.port-refused")
