"""The embedded relay against strangers who say anything at its ssh port and at its control port."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.handshakes import handshakes, say
from tests.fuzz.shapes import patient
from tests.parts.waiting import wait_until
from tests.relay.relaying import Console, Relay, of_embedded
from tests.relay.serving import Dial, Serving, echo, opened

pytestmark = [of_embedded, pytest.mark.real("ssh"), pytest.mark.feature("E9"), pytest.mark.timeout(3600)]


def descriptors(relay: Relay) -> int:
    assert relay.daemon is not None
    return len(list(Path(f"/proc/{relay.daemon.pid}/fd").iterdir()))


def test_relay_when_strangers_say_anything_at_its_ssh_port_then_it_keeps_nothing_and_serves(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """Its descriptors are as many as before, and the next device is admitted."""
    before = descriptors(relay)

    @given(handshakes)
    @patient
    def throw(handshake: tuple[bytes, list[bytes]]) -> None:
        say(relay.ssh_port, handshake)
        assert relay.daemon is not None
        assert relay.daemon.is_running

    throw()
    wait_until(lambda: descriptors(relay) <= before, 30, "the strangers' sockets to be closed")
    opened(relay, console, dial, service(echo).port)


requests = st.builds(
    lambda verb, path, headers, body: verb + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body,
    st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"X" * 70_000, b""]),
    st.sampled_from([b"/v1/pair", b"/v1/grants/s-aaaaaaaaaaaaaaaa", b"/version", b"/healthz", b"/v1/records?after=-1&wait=9e9", b"/../", b"/" + b"a" * 70_000])
    | st.binary(max_size=60),
    st.lists(st.sampled_from([b"Content-Length: -1", b"Content-Length: 99999999999", b"Content-Length: x", b"Transfer-Encoding: chunked", b"Host: a"]) | st.binary(max_size=40), max_size=5),
    st.binary(max_size=300),
)  # fmt: skip


def test_relay_when_strangers_say_anything_at_its_control_port_then_it_keeps_nothing_and_serves(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """Anybody may come that far without a certificate; the console is served all the same."""
    before = descriptors(relay)
    anything = ssl._create_unverified_context()  # a stranger does not care who answers

    @given(requests)
    @patient
    def throw(request: bytes) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", relay.control_port), timeout=5) as plain:
            plain.settimeout(1)
            with anything.wrap_socket(plain) as stranger:
                stranger.sendall(request)
                while stranger.recv(65_536):
                    pass
        assert relay.daemon is not None
        assert relay.daemon.is_running

    throw()
    wait_until(lambda: descriptors(relay) <= before + 2, 40, "the strangers' sockets to be closed")
    opened(relay, console, dial, service(echo).port)
