"""The control port while the pairing changes: it stays bound, everybody is met as the pairing wants it, and nobody is left waiting."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from doorward_protocol.joining import pairing_from_text

from tests.parts.limits import none_left
from tests.parts.waiting import wait_until
from tests.relay.calling import HEALTHZ, LIMIT_S, Caller, client_context
from tests.relay.relaying import Console, Relay

CALLERS: Final = 4
PAIRINGS: Final = 3
OK: Final = b"HTTP/1.1 200"

Call = Callable[..., Caller]


@pytest.fixture
def call(relay: Relay, scratch: Path) -> Iterator[Call]:
    """Connect to the relay's control port, with a console's certificate or none."""
    made: list[Caller] = []

    def connect(console: Console | None = None, limit_s: float = LIMIT_S) -> Caller:
        shown = None if console is None else console.client.write(scratch, "shown")
        made.append(Caller(relay.control_port, client_context(relay.folder / "state/tls.crt", shown), limit_s))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def unpair(relay: Relay) -> None:
    """Withdraw the pairing at the command line."""
    status, output, errors = relay.command("install", "--pair-again", "--yes")
    assert status == 0, errors
    relay.line = pairing_from_text(output.strip().splitlines()[-1])


def post_pairing(document: bytes) -> bytes:
    """The head of a pairing, without its body."""
    return b"POST /v1/pair HTTP/1.1\r\nHost: relay\r\nContent-Length: %d\r\n\r\n" % len(document)


def test_a_caller_who_came_before_the_pairing_when_he_goes_on_after_it_then_he_is_told_nothing(
    relay: Relay, scratch: Path, call: Call
) -> None:
    """Whether he had said nothing, or half of his handshake: he is neither let in without a certificate nor answered."""
    early = [call(), call().begin(), call(), call().begin()]
    Console(relay, scratch).pair()
    assert [one.ask(HEALTHZ) for one in early[:2]] == [b"", b""]
    assert [one.ask(post_pairing(b"{}") + b"{}") for one in early[2:]] == [b"", b""]


def test_a_pairing_that_is_half_said_when_another_is_kept_then_it_is_told_nothing(
    relay: Relay, scratch: Path, call: Call
) -> None:
    """A refusal, too, would be an answer to somebody without a certificate."""
    console, late = Console(relay, scratch), Console(relay, scratch)
    document = json.dumps(late.pairing_document()).encode()
    slow = call()
    slow.say(post_pairing(document) + document[:20])
    with console.http() as http:
        assert http.post("/v1/pair", json=console.pairing_document()).status_code == 200
    assert slow.ask(document[20:]) == b""


def test_an_idle_connection_when_the_relay_is_paired_then_it_is_cut(relay: Relay, scratch: Path, call: Call) -> None:
    """One that was answered and kept open is no way around the certificate."""
    idle = call()
    assert idle.ask(HEALTHZ).startswith(OK)
    Console(relay, scratch).pair()
    assert idle.is_cut()


def test_a_console_when_its_pairing_is_withdrawn_then_what_it_had_open_is_of_no_use(
    relay: Relay, console: Console, call: Call
) -> None:
    """Neither an idle connection nor one that had said half of its handshake reaches what the paired relay serves."""
    idle, early = call(console), call(console).begin()
    assert idle.ask(HEALTHZ).startswith(OK)
    unpair(relay)
    wait_until(lambda: call().ask(HEALTHZ), 5, "the port without certificates")
    assert early.ask(HEALTHZ) == b""
    assert idle.is_cut()


def test_a_call_when_the_relay_is_paired_in_that_moment_then_tcp_refuses_nobody(
    relay: Relay, scratch: Path, call: Call
) -> None:
    """The port stays bound, also while somebody is in the middle of a request."""
    call().say(post_pairing(b"{}"))
    connected: list[float] = []
    done = threading.Event()

    def connect() -> None:
        context = client_context(relay.folder / "state/tls.crt")
        while not done.is_set():
            Caller(relay.control_port, context).close()
            connected.append(time.monotonic())

    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connect)
        try:
            Console(relay, scratch).pair()
            paired_at = time.monotonic()
            wait_until(lambda: connecting.done() or connected[-1] > paired_at, 5, "a call afterwards")
        finally:
            done.set()
    connecting.result()


@dataclass
class Crowd:
    """Strangers who ask one relay for its health, again and again, each on a new connection."""

    relay: Relay
    answered: list[tuple[float, float]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Ask until it is done; raises TimeoutError where nobody answers, ConnectionRefusedError where nobody listens."""
        context = client_context(self.relay.folder / "state/tls.crt")
        while not self.done.is_set():
            began = time.monotonic()
            caller = Caller(self.relay.control_port, context)
            if caller.ask(HEALTHZ):
                self.answered.append((began, time.monotonic()))
            caller.close()

    def was_answered_within(self, began: float, ended: float) -> bool:
        return any(began < asked and told < ended for asked, told in tuple(self.answered))


def test_a_crowd_when_the_relay_is_paired_and_unpaired_then_nobody_hangs_and_no_descriptor_stays(
    relay: Relay, scratch: Path
) -> None:
    """Whoever calls in whatever moment is answered or hung up on at once; while a pairing stands, no stranger is answered."""
    assert relay.daemon is not None
    descriptors = Path(f"/proc/{relay.daemon.pid}/fd")
    Console(relay, scratch).pair()
    before = _number(descriptors)
    crowd = Crowd(relay)
    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(crowd.ask) for _ in range(CALLERS)]
        try:
            for _ in range(PAIRINGS):
                _pair_anew(relay, scratch, crowd)
        finally:
            crowd.done.set()
    for one in asking:
        one.result()
    wait_until(lambda: _number(descriptors) <= before, 5, "as few descriptors as before")


def _number(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _pair_anew(relay: Relay, scratch: Path, crowd: Crowd) -> None:
    """Withdraw the pairing, make another one, and see that strangers are answered before it alone."""
    unpaired_at = time.monotonic()
    unpair(relay)
    wait_until(lambda: crowd.was_answered_within(unpaired_at, time.monotonic()), 5, "an answer to a stranger")
    console = Console(relay, scratch)
    console.pair()
    paired_at = time.monotonic()
    wait_until(lambda: console.get("/healthz").status_code == 200 and time.monotonic() > paired_at + 1, 5)
    assert not crowd.was_answered_within(paired_at, time.monotonic())


def test_a_call_when_no_descriptor_is_left_then_it_is_answered_once_there_is_one(relay: Relay, call: Call) -> None:
    """The port rests for a moment, and does not lose who waits at it."""
    assert relay.daemon is not None
    with none_left(relay.daemon.pid):
        waiting = call()
        with pytest.raises(TimeoutError):
            call(limit_s=0.5).ask(HEALTHZ)
    assert waiting.ask(HEALTHZ).startswith(OK)
