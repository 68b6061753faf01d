"""The embedded relay against whoever says anything: strangers at its ssh port, strangers and the console's own certificate at its control port."""

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_protocol.joining import pairing_from_text
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.channels import messages, polite, say_all
from tests.fuzz.handshakes import handshakes, say
from tests.fuzz.shapes import NASTY, documents_like, each_otherwise, messages_like, messages_otherwise, patient
from tests.fuzz.strangers import conversations_as, talk
from tests.parts.waiting import wait_until
from tests.relay.asking import logged_in
from tests.relay.relaying import TUNNEL_USER, Console, Relay, of_embedded
from tests.relay.serving import Dial, Serving, echo, opened

pytestmark = [of_embedded, pytest.mark.real("ssh"), pytest.mark.feature("E9"), pytest.mark.timeout(3600)]

GROWTH_KIB: Final = 20 * 1024
"""What answering thousands warms up, measured as 14 MiB; the long form's thousands make a leak of 4 KiB each come out of it."""
PATIENCE_S: Final = 0.2
SESSION: Final = "s-aaaaaaaaaaaaaaaa"


def descriptors(relay: Relay) -> int:
    assert relay.daemon is not None
    return len(list(Path(f"/proc/{relay.daemon.pid}/fd").iterdir()))


def memory_kib(relay: Relay) -> int:
    """Give what the relay holds in memory and no file has."""
    assert relay.daemon is not None
    lines = Path(f"/proc/{relay.daemon.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


@contextmanager
def keeping_nothing(relay: Relay) -> Iterator[None]:
    """See that descriptors are as many afterwards as before, and memory is nearly as much."""
    before, before_kib = descriptors(relay), memory_kib(relay)
    yield
    wait_until(lambda: descriptors(relay) <= before + 2, 40, "the strangers' sockets to be closed")
    assert memory_kib(relay) - before_kib < GROWTH_KIB


def test_relay_when_strangers_say_anything_at_its_ssh_port_then_it_keeps_nothing_and_serves(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """Before keys are exchanged, or after that; the next device is admitted."""

    @given(handshakes)
    @patient
    def throw(handshake: tuple[bytes, list[bytes]]) -> None:
        say(relay.ssh_port, handshake)
        assert relay.daemon is not None
        assert relay.daemon.is_running

    @given(conversations_as(TUNNEL_USER))
    @patient
    def talk_on(messages: list[bytes]) -> None:
        exchanged.append(talk(relay.ssh_port, messages))
        assert relay.daemon is not None
        assert relay.daemon.is_running

    exchanged: list[bool] = []
    with keeping_nothing(relay):
        throw()
        talk_on()
    assert all(exchanged), "somebody came no further than before"
    opened(relay, console, dial, service(echo).port)


def test_relay_when_an_admitted_device_says_anything_then_it_keeps_nothing_and_serves(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """A device is in somebody's hands: it has a key and a grant, and nothing else is given to it."""
    device = dial(console.granted(relay.ports[0]).session)
    logins = [0]

    @given(st.lists(polite, max_size=8), st.lists(messages, max_size=3))
    @patient
    def throw(first: list[bytes], then: list[bytes]) -> None:
        with logged_in(device) as transport:
            logins[0] += 1
            say_all(transport, first + then)
        assert relay.daemon is not None
        assert relay.daemon.is_running

    with keeping_nothing(relay):
        throw()
    assert logins[0] > 20, "each was heard after a log-in"
    assert relay.daemon is not None
    assert "Traceback" not in relay.daemon.log.read_text()
    opened(relay, console, dial, service(echo).port, 1)


def http_of(verb: bytes, path: bytes, headers: list[bytes], body: bytes) -> bytes:
    return verb + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body


def with_body(verb: bytes, path: bytes, body: bytes) -> bytes:
    """Give a request in good order, whatever its body is."""
    return http_of(verb, path, [b"Host: relay", b"Connection: close", b"Content-Length: %d" % len(body)], body)


rude = st.builds(
    http_of,
    st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"X" * 70_000, b""]),
    st.sampled_from([b"/v1/pair", b"/v1/grants/" + SESSION.encode(), b"/version", b"/healthz", b"/v1/records?after=-1&wait=9e9", b"/../", b"/" + b"a" * 70_000])
    | st.binary(max_size=60),
    st.lists(st.sampled_from([b"Content-Length: -1", b"Content-Length: 99999999999", b"Content-Length: x", b"Transfer-Encoding: chunked", b"Host: a"]) | st.binary(max_size=40), max_size=5),
    st.binary(max_size=300),
)  # fmt: skip
"""Requests that are hardly any."""


def requests_like(samples: dict[tuple[bytes, bytes], dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Give requests in good order for each of these, whose documents were good until something of them was changed."""
    return st.one_of(
        *(
            st.builds(
                with_body,
                st.just(verb),
                st.just(path) | st.builds(bytes.__add__, st.just(path), st.binary(max_size=20)),
                messages_like([json.dumps(sample).encode()]) | documents_like([sample]).map(lambda one: json.dumps(one).encode()) | st.sampled_from(NASTY),
            )
            for (verb, path), sample in samples.items()
        )
    )  # fmt: skip


def otherwise(samples: dict[tuple[bytes, bytes], dict[str, Any]]) -> list[bytes]:
    """Give each of these with each place of its document in turn holding something else, and with other numbers behind its path."""
    bodies = [
        with_body(verb, path, body)
        for (verb, path), sample in samples.items()
        for body in messages_otherwise([json.dumps(sample).encode()])
    ]
    counted = [(verb, path.partition(b"?")[0]) for verb, path in samples if b"?" in path]
    return bodies + [with_body(verb, path + b"?after=" + number, b"") for verb, path in counted for number in NUMBERS]


NUMBERS: Final = (b"", b"-1", b"x", b"1e3", b"%C2%B2", b"9" * 19, b"9" * 5_000)


def as_they_are(samples: dict[tuple[bytes, bytes], dict[str, Any]]) -> list[bytes]:
    return [with_body(verb, path, json.dumps(sample).encode()) for (verb, path), sample in samples.items()]


def status_of(relay: Relay, context: ssl.SSLContext, request: bytes) -> int:
    """Say it and give the status that is answered, 0 for none; who says half a request is waited for by the relay, and not here."""
    heard = b""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", relay.control_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as caller,
    ):
        caller.sendall(request)
        caller.settimeout(PATIENCE_S)
        while piece := caller.recv(65_536):
            heard += piece
    return int(heard.split(b" ", 2)[1]) if heard.startswith(b"HTTP/1.1 ") else 0


def throw_at(relay: Relay, context: ssl.SSLContext, each: Iterable[bytes], requests: st.SearchStrategy[bytes]) -> None:
    """Say each of the first, and as many of the others as chance has: each is answered or waited for, and none is a mistake of the relay's."""

    def say_it(request: bytes) -> None:
        assert status_of(relay, context, request) != 500, f"the relay calls that its own mistake: {request[:300]!r}"
        assert relay.daemon is not None
        assert relay.daemon.is_running

    @given(requests)
    @patient
    def throw(request: bytes) -> None:
        say_it(request)

    with keeping_nothing(relay):
        for request in each:
            say_it(request)
        throw()


def test_unpaired_relay_when_strangers_say_anything_then_it_keeps_nothing_and_is_paired_afterwards(
    relay: Relay, scratch: Path
) -> None:
    """Anybody may come that far: a token is all that they lack, and a hundred guesses void it."""
    pairing = Console(relay, scratch).pairing_document()
    samples = {(b"POST", b"/v1/pair"): {**pairing, "token": "b" * 26}, (b"GET", b"/readyz"): {}}
    context = ssl._create_unverified_context()
    assert [status_of(relay, context, one) for one in as_they_are(samples)] == [403, 200]
    throw_at(relay, context, otherwise(samples), rude | requests_like(samples))

    status, output, errors = relay.command("install", "--pair-again", "--yes")
    assert status == 0, errors
    relay.line = pairing_from_text(output.strip().splitlines()[-1])
    Console(relay, scratch).pair()


def test_unpaired_relay_when_the_token_is_right_and_the_rest_is_not_then_it_stays_unpaired_until_all_of_it_is(
    relay: Relay, scratch: Path
) -> None:
    """Who has the token is an administrator, whose console may be of any age, or cut off in the middle of a word."""
    pairing = Console(relay, scratch).pairing_document()
    others = {name: value for name, value in pairing.items() if name != "token"} | {"client_certificate": "x"}

    def request(one: dict[str, Any]) -> bytes:
        return with_body(b"POST", b"/v1/pair", json.dumps({**one, "token": relay.line.token}).encode())

    each = map(request, each_otherwise(others))
    throw_at(relay, ssl._create_unverified_context(), each, documents_like([others]).map(request))
    Console(relay, scratch).pair()


def be_restored(relay: Relay, console: Console) -> None:
    """Go on as a console whose backup was older: with a new epoch, for an end may say which grants were before it."""
    for _ in range(100):
        console.epoch += 1
        answer = console.put(console.grant(relay.ports[3]))
        if answer.status_code == 200:
            return
        assert answer.json()["code"] == "grant.lower-sequence"
    raise AssertionError("no epoch is new enough")


def test_relay_when_its_console_says_anything_then_it_keeps_nothing_and_serves(
    relay: Relay, console: Console, scratch: Path, dial: Dial, service: Serving
) -> None:
    """A console in somebody's hands, or one with a mistake, is refused; the history stays whole, and the next grant is obeyed."""
    grant, ended = console.granted(relay.ports[0]), console.granted(relay.ports[2])
    samples: dict[tuple[bytes, bytes], dict[str, Any]] = {
        (b"PUT", b"/v1/grants/" + grant.session.encode()): {"grant": console.envelope(grant)},
        (b"POST", b"/v1/grants/" + ended.session.encode() + b"/end"): {"epoch": 0, "seq": 2, "why": "session.turned-off"},
        (b"POST", b"/v1/reconcile"): {"epoch": 0, "as_of": 2, "sessions": [grant.session]},
        (b"POST", b"/v1/probe/" + grant.session.encode()): {},
        (b"GET", b"/v1/records?after=0&wait=0"): {},
        (b"POST", b"/v1/receipt"): {"receipt": console.envelope(grant)},
    }  # fmt: skip
    context = console.context(console.client)
    assert [status_of(relay, context, one) for one in as_they_are(samples)] == [200, 200, 200, 200, 200, 409]
    throw_at(relay, context, otherwise(samples), rude | requests_like(samples))

    assert console.records(), "signed, and in a row"
    be_restored(relay, console)
    opened(relay, console, dial, service(echo).port, 1)
