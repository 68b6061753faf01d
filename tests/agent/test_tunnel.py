"""The tunnel edge against a real sshd as relay."""

import os
import queue
import signal
import socket
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from doorward_agent import events
from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children, ssh_command
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event
from doorward_protocol.ids import SessionId

from tests.agent.scripted import new_id, port_of_door, ssh_line, tunnel_children
from tests.agent.tunnels import TUNNELS, Bench, Relay
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port, is_listening, taken
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until


@pytest.fixture(params=TUNNELS)
def tunnel(request: pytest.FixtureRequest) -> str:
    """Who dials: every test of the edge runs over both."""
    return str(request.param)


def test_tunnel_when_admitted_then_forward_reaches_the_door_and_end_frees_it(bench: Bench) -> None:
    """A granted forward carries to the door's port; ending it leaves no child and no listener."""
    bench.open()
    with socket.create_connection(("127.0.0.1", bench.port), 5):
        visitor, _ = bench.door.accept()
        visitor.close()
    bench.edge.end(1)
    assert bench.next() == events.TunnelEnded(1)
    wait_until(lambda: not is_listening(bench.port))
    assert tunnel_children(os.getpid()) == []


def test_tunnel_when_nothing_is_open_then_end_says_ended(bench: Bench) -> None:
    """Ending what is not there is answered too, so that closing never waits for it."""
    bench.edge.end(7)
    assert bench.next() == events.TunnelEnded(7)


@pytest.mark.threat("relay-host-key")
def test_tunnel_when_host_key_is_another_then_relay_sees_no_authentication(bench: Bench) -> None:
    """A relay with another host key is left before anything is offered to it."""
    route = bench.relay.route(bench.certificate(), host_keys=(ssh_line(Ed25519PrivateKey.generate()),))
    bench.dial(route=route)
    assert bench.next() == events.TunnelFailed(1, "tunnel.host-key")
    log = bench.relay.sshd.program.log_text()
    assert "Accepted" not in log
    assert "userauth" not in log
    assert f"principal {bench.session}" not in log


@pytest.mark.threat("relay-host-key")
@pytest.mark.parametrize("tunnel", ["ssh"])
@pytest.mark.parametrize(
    ("gone", "is_refused"),
    [
        ((), True),
        (("ExitOnForwardFailure=no",), True),
        (("StrictHostKeyChecking=no",), True),
        (("ExitOnForwardFailure=no", "StrictHostKeyChecking=no"), False),
    ],
)
def test_dial_when_host_key_is_another_then_each_of_two_options_alone_refuses_it(
    bench: Bench, programs: Programs, gone: tuple[str, ...], *, is_refused: bool
) -> None:
    """ssh leaves before it authenticates by the pin alone, and by not going on without its forwards alone."""
    route = bench.relay.route(bench.certificate(), host_keys=(ssh_line(Ed25519PrivateKey.generate()),))
    write_whole(bench.folder / ssh_command.KNOWN_HOSTS, ssh_command.known_hosts_text(route))
    write_whole(bench.folder / ssh_command.CERTIFICATE, f"{route.certificate}\n")
    config = Config(state_dir=bench.state_dir, ssh_program=require("ssh"))
    ssh, *rest = ssh_command.dial_command(config, route)
    # Of each option the first counts; ssh connects by itself here.
    first = [word for option in (*gone, "ProxyCommand=none") for word in ("-o", option)]
    client = programs.start(ssh, *first, *rest, name="dial", cwd=bench.folder)
    is_in = (bench.folder / ssh_command.CONTROL).exists
    wait_until(lambda: is_in() or not client.is_running)
    assert is_in() is not is_refused
    assert ("Accepted" in bench.relay.sshd.program.log_text()) is not is_refused


def test_tunnel_when_relay_has_no_key_of_the_pinned_kind_then_it_is_a_wrong_host_key(bench: Bench) -> None:
    """A relay that cannot show a key of the pinned kind is not the pinned relay."""
    pinned = ssh_line(ec.generate_private_key(ec.SECP384R1()))
    bench.dial(route=bench.relay.route(bench.certificate(), host_keys=(pinned,)))
    assert bench.next() == events.TunnelFailed(1, "tunnel.host-key")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_tunnel_when_relay_has_several_host_keys_then_the_pinned_one_is_asked_for(bench: Bench, kind: str) -> None:
    """A relay that would rather show another of its keys is asked for the kind that was pinned."""
    private = load_ssh_private_key((bench.relay.sshd.folder / f"host_key_{kind}").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    bench.dial(route=bench.relay.route(bench.certificate(), host_keys=(ssh_line(private),)))
    bench.edge.forward(1, bench.door_port)
    assert bench.next() == events.TunnelOpened(1)


def test_tunnel_when_relay_does_not_know_the_session_then_not_admitted(bench: Bench) -> None:
    """A certificate for a session without a grant is told apart from a wrong host key."""
    bench.relay.admit(new_id("s"), bench.port)
    bench.dial()
    assert bench.next() == events.TunnelFailed(1, "tunnel.not-admitted")


@pytest.mark.parametrize(
    ("host", "code"), [("no-such-relay.invalid", "tunnel.unresolved"), ("127.0.0.1", "tunnel.unreachable")]
)
def test_tunnel_when_relay_cannot_be_reached_then_code_says_how_far_one_gets(
    bench: Bench, host: str, code: str
) -> None:
    """A name that does not resolve and a port where nobody listens have a code each."""
    bench.dial(route=bench.relay.route(bench.certificate(), host=host, port=free_port()))
    assert bench.next() == events.TunnelFailed(1, code)


@pytest.mark.parametrize("limit_s", [4])
def test_tunnel_when_relay_accepts_and_says_nothing_then_timeout(bench: Bench) -> None:
    """A relay that hangs costs the configured time and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bench.dial(route=bench.relay.route(bench.certificate(), port=silent.getsockname()[1]))
        assert bench.next() == events.TunnelFailed(1, "tunnel.timeout")


def test_tunnel_when_port_is_refused_then_relays_own_reason_comes_along(bench: Bench) -> None:
    """A refused forward asks the relay why, over the same connection."""
    hello = write_whole(bench.folder / "hello", '#!/bin/sh\necho \'{"code": "relay.port-busy", "next": ""}\'\n', 0o755)
    bench.relay.admit(bench.session, bench.port, str(hello))
    with taken(bench.port):
        bench.dial()
        bench.edge.forward(1, bench.door_port)
        assert bench.next() == events.TunnelFailed(1, "tunnel.port-refused", "relay.port-busy")
    assert tunnel_children(os.getpid()) == []


def test_tunnel_when_relay_frees_the_port_then_it_is_asked_for_again(bench: Bench) -> None:
    """After relay.port-freed the same connection gets the port."""
    with taken(bench.port) as old:
        pid = write_whole(bench.folder / "old", "busy")
        hello = write_whole(
            bench.folder / "hello",
            f'#!/bin/sh\nrm {pid}\nwhile [ ! -e {bench.folder}/free ]; do sleep 0.02; done\necho \'{{"code": "relay.port-freed"}}\'\n',
            0o755,
        )
        bench.relay.admit(bench.session, bench.port, str(hello))
        bench.dial()
        bench.edge.forward(1, bench.door_port)
        wait_until(lambda: not pid.exists())
        old.close()
        write_whole(bench.folder / "free", "")
        assert bench.next() == events.TunnelOpened(1)


def test_tunnel_when_relay_does_not_say_why_then_port_refused_stands_alone(bench: Bench) -> None:
    """A plain relay without our hello gives no second code."""
    with taken(bench.port):
        bench.dial()
        bench.edge.forward(1, bench.door_port)
        assert bench.next() == events.TunnelFailed(1, "tunnel.port-refused")


@pytest.mark.parametrize("bind", ["*", "localhost"])
def test_tunnel_when_bind_is_given_then_relay_listens_there(bench: Bench, bind: str) -> None:
    """A public forward listens on all addresses of the relay, another one on its loopback alone."""
    bench.dial(bind=bind)
    bench.edge.forward(1, bench.door_port)
    assert bench.next() == events.TunnelOpened(1)
    assert is_listening(bench.port, "127.0.0.2") == (bind == "*")


def test_tunnel_when_relay_goes_away_then_lost(bench: Bench) -> None:
    """A tunnel that breaks is said to be lost, once."""
    bench.open()
    (child,) = tunnel_children(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert bench.next() == events.TunnelFailed(1, "tunnel.lost")
    assert bench.events.empty()


def test_tunnel_when_opened_anew_then_the_old_child_is_gone(bench: Bench) -> None:
    """A new attempt never leaves an older ssh behind."""
    bench.open(1)
    bench.open(2)
    assert len(tunnel_children(os.getpid())) == 1


def test_tunnel_when_ssh_is_missing_then_its_code_says_so(relay: Relay, scratch: Path) -> None:
    """A device that shall dial with ssh and has none is told what to install."""
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    edge = TunnelEdge(Config(state_dir=scratch, tunnel="ssh", ssh_program=scratch / "no-ssh"), scratch, came.put)
    edge.open(Dial(1, SessionId(new_id("s")), relay.route("c"), ()))
    assert came.get(timeout=5) == events.TunnelFailed(1, "tunnel.no-ssh")
    edge.stop()


def test_tunnel_when_an_agent_left_one_then_the_next_ends_it_before_it_dials(bench: Bench) -> None:
    """What a crashed agent left holds the relay's port no longer than until the next agent starts."""
    bench.open()
    (left,) = tunnel_children(os.getpid())
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    edge = TunnelEdge(Config(state_dir=bench.state_dir), bench.run_dir, came.put)
    assert bench.next() == events.TunnelFailed(1, "tunnel.lost")
    wait_until(lambda: not is_listening(bench.port))
    assert left not in tunnel_children(os.getpid())
    edge.stop()


DYING = """
import sys, threading, time
from pathlib import Path
from doorward_agent.edges import children
started = children.start_dying_with_us(["/bin/sleep", "300"], Path("/"), output=1)
print(started.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.feature("E9")
def test_child_when_parent_is_killed_then_it_dies_too(programs: Programs) -> None:
    """kill -9 of the agent takes the tunnel's process along."""
    parent = programs.start(sys.executable, "-c", DYING, name="parent")
    parent.wait_for(lambda: parent.log_text().strip().isdecimal())
    child = int(parent.log_text())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes())


def test_leftover_when_pid_file_names_a_living_child_then_it_is_ended(programs: Programs, scratch: Path) -> None:
    """What an earlier agent left is ended; a process that merely got its number is not."""
    left = programs.start("/bin/sleep", "300", name="left")
    other = programs.start("/bin/sleep", "300", name="other")
    children.remember(scratch / "pid", left.pid)
    write_whole(scratch / "pid-of-other", f'{{"pid": {other.pid}, "started": 1}}')
    children.end_leftover(scratch / "pid")
    children.end_leftover(scratch / "pid-of-other")
    wait_until(lambda: not left.is_running)
    assert other.is_running


def test_door_port_when_nobody_listens_then_empty() -> None:
    """The tests' own look at a port says nothing where there is nothing."""
    assert port_of_door(free_port()) == b""
