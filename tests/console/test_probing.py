"""The worker's look at a door: what it takes for this session's, on real sockets."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from doorward_console.edges import probing
from doorward_console.edges.probing import probe
from doorward_console.maintenance.probes import ToProbe
from doorward_console.worker.events import DoorProbed, Event
from doorward_console.worker.prober import LIVELY, Prober

from tests.parts.ports import free_port
from tests.parts.waiting import wait_until

TOKEN = "abcdefgh23456789"
BANNER = f"SSH-2.0-OpenSSH_9.2 doorward-{TOKEN}\r\n".encode()


@contextmanager
def listening(says: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """Listen on loopback and let ``says`` speak to each visitor; gives the port."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                visitor, _ = listener.accept()
            except OSError:
                return
            with visitor, suppress(OSError):
                says(visitor)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def in_pieces(visitor: socket.socket) -> None:
    for piece in (b"Welcome to the relay\r\nSSH-2.0-Open", BANNER[12:30], BANNER[30:]):
        visitor.sendall(piece)


@pytest.mark.feature("E2", "E3")
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (BANNER, None),
        (b"a line before\r\n" + BANNER, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "probe.other-banner"),
        (f"SSH-2.0-OpenSSH_9.2 doorward-{TOKEN}x\r\n".encode(), "probe.other-banner"),
        (b"SSH-2.0-OpenSSH_9.2 doorward-zzzzzzzzzzzzzzzz\r\n", "probe.other-banner"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "probe.silent"),
        (b"", "probe.silent"),
        (BANNER.rstrip(), "probe.silent"),
        (b"x" * 100_000, "probe.silent"),
        (b"\xff\xfe\r\n" * 10, "probe.silent"),
    ],
)
def test_probe_when_somebody_answers_then_only_this_sessions_banner_is_the_door(said: bytes, code: str | None) -> None:
    """An open port, an ssh server, even another session's door is not green."""
    with listening(lambda visitor: visitor.sendall(said)) as port:
        assert probe("127.0.0.1", port, TOKEN) == code


def test_probe_when_the_banner_comes_in_pieces_then_it_is_read_whole() -> None:
    """TCP knows no lines."""
    with listening(in_pieces) as port:
        assert probe("127.0.0.1", port, TOKEN) is None


def test_probe_when_nobody_listens_or_the_name_is_none_then_refused() -> None:
    """Whatever keeps the connection from being made is one answer."""
    for host, port in (("127.0.0.1", free_port()), ("no-such-host.invalid", 22), ("x" * 70 + ".example", 22)):
        assert probe(host, port, TOKEN) == "probe.refused"


def test_probe_when_the_other_side_drips_then_it_ends_within_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that sends a byte now and then cannot hold a thread of the worker's."""
    monkeypatch.setattr(probing, "LIMIT_S", 0.4)
    done = threading.Event()

    def drip(visitor: socket.socket) -> None:
        while not done.wait(0.05):
            visitor.sendall(b".")

    with listening(drip) as port:
        began = time.monotonic()
        assert probe("127.0.0.1", port, TOKEN) == "probe.silent"
        assert time.monotonic() - began < 2
        done.set()


class Watch:
    """A prober, and what it told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.prober = Prober(self._hear)

    def _hear(self, event: Event) -> bool:
        assert isinstance(event, DoorProbed)
        self.told.append((event.session, event.code))
        return True


@pytest.fixture
def watch() -> Iterator[Watch]:
    watched = Watch()
    yield watched
    watched.prober.stop()


def target(session: str, port: int, *, phase: str = "opening", is_awaited: bool = True) -> ToProbe:
    return ToProbe(session, "127.0.0.1", port, TOKEN, phase, is_awaited)


@pytest.mark.feature("E2", "E3")
def test_prober_when_a_door_begins_to_answer_then_it_is_told_within_a_moment(watch: Watch) -> None:
    """While somebody waits it looks about seven times a second, and tells what has changed."""
    port = free_port()
    watch.prober.follow([target("s-1", port)])
    wait_until(lambda: ("s-1", "probe.refused") in watch.told, 5, "the first look")
    with listening(lambda visitor: visitor.sendall(BANNER), port):
        began = time.monotonic()
        wait_until(lambda: watch.told[-1] == ("s-1", None), 5, "the answer")
        assert time.monotonic() - began < 1.5
    wait_until(lambda: watch.told[-1] == ("s-1", "probe.refused"), 5, "silence again")


def test_prober_when_doors_are_silent_then_one_that_answers_does_not_wait_for_them(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten doors behind listeners that say nothing leave room for an eleventh."""
    monkeypatch.setattr(probing, "LIMIT_S", 2.0)
    done = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        done.wait(10)

    with listening(say_nothing) as silent, listening(lambda it: it.sendall(BANNER)) as good:
        watch.prober.follow([*(target(f"s-{n}", silent) for n in range(10)), target("s-good", good)])
        wait_until(lambda: ("s-good", None) in watch.told, 1.5, "the good one")
        done.set()


def test_prober_when_a_door_is_not_wanted_any_more_then_nothing_is_told_of_it(watch: Watch) -> None:
    """A session that came to rest is left alone."""
    with listening(lambda visitor: visitor.sendall(BANNER)) as port:
        watch.prober.follow([target("s-1", port), target("s-2", port)])
        wait_until(lambda: {one for one, _ in watch.told} == {"s-1", "s-2"}, 5, "both")
        watch.prober.follow([target("s-2", port)])
        told = len(watch.told)
        wait_until(lambda: len(watch.told) > told + 2, 10, "more of the other")
        assert {one for one, _ in watch.told[told + 1 :]} == {"s-2"}


def test_prober_when_a_door_is_simply_open_then_it_looks_seldom(watch: Watch) -> None:
    """An engineer's door is not knocked at seven times a second."""
    visits: list[int] = []

    def count(visitor: socket.socket) -> None:
        visits.append(visitor.getsockname()[1])
        visitor.sendall(BANNER)

    with listening(count) as port, listening(count) as other:
        watch.prober.follow([target("s-1", port, is_awaited=False), target("s-2", other)])
        wait_until(lambda: visits.count(other) > 5, 10, "looks at the one that is awaited")
        assert visits.count(port) == 1


def test_prober_when_a_port_comes_and_goes_then_it_looks_ever_more_calmly() -> None:
    """Somebody else's service at a plain relay cannot fill the history by answering every other time."""
    visits: list[socket.socket] = []
    times: list[float] = []

    def every_other(visitor: socket.socket) -> None:
        visits.append(visitor)
        visitor.sendall(BANNER if len(visits) % 2 else b"")

    def hear(event: Event) -> bool:
        assert isinstance(event, DoorProbed)
        times.append(time.monotonic())
        prober.follow([replace(target, phase=str(len(times)), is_awaited=event.code is not None)])
        return True

    with listening(every_other) as port:
        prober, target = Prober(hear), ToProbe("s-a", "127.0.0.1", port, TOKEN, "0", is_awaited=True)
        prober.follow([target])
        try:
            wait_until(lambda: len(times) >= LIVELY + 4, 20, "reports")
        finally:
            prober.stop()
    assert times[5] - times[0] < 5
    assert times[LIVELY + 3] - times[LIVELY] > 2
