"""What makes a tunnel quick, seen on the real connection: what its ends agreed on, and how its socket is set."""

import logging
import os
import re
import socket
import statistics
import time
from contextlib import ExitStack, closing

import pytest
from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children
from doorward_agent.edges.dialling import Dialer
from doorward_agent.edges.paramiko_dialer import ParamikoDialer
from doorward_agent.edges.ssh_dialer import SshDialer
from doorward_protocol.orders import Forward
from doorward_protocol.targets import Target

from tests.agent.scripted import tunnel_children
from tests.agent.scripted_relay import ScriptedRelay
from tests.agent.test_carrying import visit
from tests.agent.test_paramiko import dial_scripted
from tests.agent.tunnels import TUNNELS, Bench
from tests.parts.descriptors import tcp_sockets_of
from tests.parts.waiting import wait_until

LEAST_S = 0.036
"""A delayed acknowledgement takes 40 ms, an answer over loopback 3."""


@pytest.fixture
def relay_options() -> tuple[str, ...]:
    return ("LogLevel DEBUG1",)


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_tunnel_when_it_is_dialled_then_the_cheapest_exchange_and_cipher_are_agreed_on(bench: Bench) -> None:
    """Left alone, the clients would ask for a post-quantum exchange, and for ChaCha20 or AES-CTR."""
    bench.open()
    log = bench.relay.sshd.program.log_text()
    assert {name.partition("@")[0] for name in re.findall(r"kex: algorithm: (\S+)", log)} == {"curve25519-sha256"}
    assert set(re.findall(r"(\S+) cipher: (\S+)", log)) == {
        ("client->server", "aes128-gcm@openssh.com"),
        ("server->client", "aes128-gcm@openssh.com"),
    }


@pytest.mark.parametrize("tunnel", ["paramiko"])
def test_tunnel_when_the_relay_knows_the_post_quantum_exchange_too_then_it_is_not_used(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """paramiko would ask for it first of all, and this relay, unlike Debian's sshd, knows paramiko's."""
    with caplog.at_level(logging.DEBUG, "paramiko.transport"), closing(ScriptedRelay()) as relay:
        dial_scripted(bench, relay)
    assert re.findall(r"Kex: (\S+)", caplog.text) == ["curve25519-sha256@libssh.org"]


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_tunnel_when_small_pieces_go_over_it_then_neither_socket_holds_them_back(bench: Bench, ends: ExitStack) -> None:
    """An engineer's keystrokes wait for no acknowledgement of the one before, towards the relay and towards the door."""
    bench.open()
    visit(bench, ends)
    (child,) = tunnel_children(os.getpid())

    def are_eager() -> bool:
        with tcp_sockets_of(child) as found:
            eager = {one.getpeername()[1]: one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in found}
        return eager == {bench.relay.sshd.port: 1, bench.door_port: 1}

    wait_until(are_eager, 5, "TCP_NODELAY on both")


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_forward_when_it_is_asked_for_then_no_delayed_acknowledgement_is_waited_for(bench: Bench, tunnel: str) -> None:
    """The relay's answer waits until its last words are acknowledged: nearly always, and on a busy machine not quite always."""
    took = [_granted_and_visited_s(bench, tunnel) for _ in range(7)]
    assert statistics.median(granted for granted, _ in took) < LEAST_S


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_visitor_when_the_first_comes_at_once_then_no_delayed_acknowledgement_is_waited_for(
    bench: Bench, tunnel: str
) -> None:
    """The relay says nothing of the first, its own probe, until its answer about the forward is acknowledged."""
    took = [_granted_and_visited_s(bench, tunnel) for _ in range(7)]
    assert statistics.median(visited for _, visited in took) < LEAST_S


def _granted_and_visited_s(bench: Bench, tunnel: str) -> tuple[float, float]:
    """Dial, ask for a forward in the moment of the admission, and visit the door in that of the answer; gives how long both took."""
    config = Config(state_dir=bench.state_dir)
    dialer: Dialer = SshDialer(config, bench.folder) if tunnel == "ssh" else ParamikoDialer(config, bench.folder)
    made = dialer.dial(Dial(1, bench.session, bench.relay.route(bench.certificate()), ()), bench.link())
    try:
        wait_until(made.is_admitted, 20, "the admission", closely=True)
        began = time.monotonic()
        assert made.ask(Forward("ssh", "ssh", "localhost", bench.port), Target("127.0.0.1", bench.door_port))
        granted = time.monotonic()
        with ExitStack() as ends:
            visit(bench, ends)
        return granted - began, time.monotonic() - granted
    finally:
        children.end(made.process)
        made.close()
