"""What the embedded relay promises beyond what every relay does: at once, exactly, and gone with its process."""

import signal
import socket
import time

import pytest
from doorward_protocol.grants import GrantedForward
from doorward_relay.edges import kernel
from doorward_relay.view import ESTABLISHED

from tests.parts.waiting import wait_until
from tests.relay.relaying import Console, Relay, listeners_on, of_embedded
from tests.relay.serving import Dial, Serving, echo, is_served, opened, read_all, visit

pytestmark = [of_embedded, pytest.mark.real("ssh")]


@pytest.mark.feature("E9")
def test_an_end_when_somebody_is_inside_then_all_of_it_is_cut_within_a_second(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """OFF acts on the connections themselves: the port, the device's connection and the engineer's, at once."""
    granted, device, _ = opened(relay, console, dial, service(echo).port)
    with visit(relay.ports[0]) as engineer:
        engineer.sendall(b"here")
        assert engineer.recv(4) == b"here"
        began = time.monotonic()
        assert console.end(granted.session).json()["closed"] is True
        assert engineer.recv(1) == b""
        wait_until(lambda: device.ask("check") != 0, 1, "the device's connection")
        assert time.monotonic() - began < 1
    assert listeners_on(relay.ports[0]) == []


def test_an_end_when_an_engineer_reads_nothing_then_his_connection_goes_all_the_same(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """What is still under way to somebody who does not take it keeps no connection alive."""
    granted, _, _ = opened(relay, console, dial, service(lambda one: one.sendall(b"z" * 16_000_000)).port)
    with visit(relay.ports[0]) as engineer:
        wait_until(lambda: engineer.recv(1, socket.MSG_PEEK), 5, "the first byte")
        assert console.end(granted.session).json()["closed"] is True
        wait_until(lambda: not _connected(relay.ports[0]), 1, "the end of the connection")


def _connected(port: int) -> list[str]:
    return [one.remote for one in kernel.sockets() if one.local_port == port and one.state == ESTABLISHED]


@pytest.mark.feature("B4")
def test_an_expiry_when_somebody_is_inside_then_it_is_cut_although_both_go_on(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """A grant's end cuts what is connected, with nobody calling."""
    granted = console.granted(relay.ports[0], lasts_s=3)
    device = dial(granted.session)
    device.dial()
    assert device.forward(relay.ports[0], service(echo).port) == 0
    with visit(relay.ports[0]) as engineer:
        engineer.sendall(b"here")
        assert engineer.recv(4) == b"here"
        assert engineer.recv(1) == b""
    late_s = time.time() - granted.ends_at / 1000
    assert 0 <= late_s < 2
    assert listeners_on(relay.ports[0]) == []


@pytest.mark.feature("B6")
def test_a_visitor_when_he_left_between_two_looks_then_his_bytes_are_counted_to_the_last(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """A known amount each way, in a visit far shorter than a second: address, time and bytes are in the history."""

    def serve(one: socket.socket) -> None:
        if len(read_all(one)) == 300_000:  # and nothing for the relay's probes
            one.sendall(b"y" * 700_000)
        one.close()

    granted, _, _ = opened(relay, console, dial, service(serve).port)
    began = time.monotonic()
    with visit(relay.ports[0]) as visitor:
        address, port = visitor.getsockname()
        visitor.sendall(b"x" * 300_000)
        visitor.shutdown(socket.SHUT_WR)
        assert len(read_all(visitor)) == 700_000
    took_ms = (time.monotonic() - began) * 1000
    left = console.wait_for_verb("visitor.left", granted.session).fact.data

    assert (left["address"], left["from_port"], left["port"]) == (address, port, relay.ports[0])
    assert (left["bytes_from"], left["bytes_to"]) == (300_000, 700_000)
    assert 0 <= left["lasted_ms"] <= took_ms + 200
    assert "visitor.came" in console.verbs(granted.session)


def test_a_tunnel_when_it_went_then_the_chain_says_how_much_went_over_it(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """The tunnel's own bytes, with what ssh adds, as they were when it went."""
    granted, _, client = opened(relay, console, dial, service(echo).port)
    with visit(relay.ports[0]) as visitor:
        visitor.sendall(b"x" * 100_000)
        got = 0
        while got < 100_000:
            got += len(visitor.recv(65_536))
    console.wait_for_verb("visitor.left", granted.session)  # the relay has looked since
    client.end()
    down = console.wait_for_verb("tunnel.down", granted.session).fact.data
    assert 100_000 < down["bytes_to"] < 150_000
    assert 100_000 < down["bytes_from"] < 150_000


def test_a_hello_when_it_is_asked_again_and_again_then_each_gives_its_place_back(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """A connection has a few sessions at a time, as OpenSSH's MaxSessions has it."""
    granted = console.granted(relay.ports[0])
    device = dial(granted.session)
    device.dial()
    for _ in range(6):
        assert device.hello()["code"] == "relay.port-freed"


@pytest.mark.threat("dead-daemon")
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_process_when_it_ends_then_nothing_stays_open_and_the_next_takes_the_device_back(
    relay: Relay, console: Console, dial: Dial, service: Serving, how: str
) -> None:
    """All doors are in one process: with it they are shut; with the next one the same grant is admitted until its end."""
    _, device, _ = opened(relay, console, dial, service(echo).port)
    gone = console.granted(relay.ports[1])
    console.end(gone.session)
    daemon = relay.daemon
    assert daemon is not None
    daemon.kill() if how == "killed" else daemon.end()
    assert listeners_on(relay.ports[0]) == []
    wait_until(lambda: device.ask("check") != 0, 5, "the device's connection")

    relay.start_daemon()
    device.dial()
    assert device.forward(relay.ports[0], service(echo).port) == 0
    assert is_served(relay.ports[0])
    assert dial(gone.session).attempt("-N", limit_s=20).returncode == 255


def test_a_forward_when_loopback_is_granted_then_it_listens_there_alone(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """The grant's bind decides: everywhere, or the loopback."""
    near = console.granted(relay.ports[0], forwards=(GrantedForward("ssh", "localhost", relay.ports[0]),))
    far = console.granted(relay.ports[1])
    for granted, bind in ((near, "localhost"), (far, "*")):
        device = dial(granted.session)
        device.dial()
        assert device.forward(granted.forwards[0].port, 9, bind) == 0
    assert set(listeners_on(relay.ports[0])) <= {"127.0.0.1", "::1"}
    assert "127.0.0.1" in listeners_on(relay.ports[0])
    assert set(listeners_on(relay.ports[1])) <= {"0.0.0.0", "::"}
    assert "0.0.0.0" in listeners_on(relay.ports[1])


@pytest.mark.parametrize("asked", ["aes128-gcm@openssh.com,aes128-ctr", "chacha20-poly1305@openssh.com,aes256-ctr"])
def test_a_cipher_when_the_client_likes_chacha_best_then_it_is_aes(
    relay: Relay, console: Console, dial: Dial, asked: str
) -> None:
    """ChaCha20 costs this process 40 % more; the client's order decides among what is offered, and it is not."""
    device = dial(console.granted(relay.ports[0]).session)
    ran = device.attempt("-v", "-o", f"Ciphers={asked}", device.target, "hello")
    cipher = next(one for one in asked.split(",") if one.startswith("aes"))
    assert f"server->client cipher: {cipher}" in ran.stderr.decode()


@pytest.mark.feature("E3")
def test_a_device_when_it_freezes_then_its_door_is_called_silent_within_seconds(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """Its connection stands until keep-alives have been missed; what is shown as open is what answers."""
    granted = console.granted(relay.ports[0])

    def show_banner(one: socket.socket) -> None:
        one.sendall(f"SSH-2.0-test doorward-{granted.banner}\r\n".encode())
        one.recv(1)

    device = dial(granted.session)
    client = device.dial()
    assert device.forward(relay.ports[0], service(show_banner).port) == 0
    console.wait_for_verb("door.answered", granted.session)
    client.signal(signal.SIGSTOP)
    wait_until(lambda: "door.silent" in console.verbs(granted.session), 20, "the door to be called silent")
