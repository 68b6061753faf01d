"""What is paramiko's alone: its child's traps, its limits, and that an agent knows nothing of it."""

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from doorward_agent import events
from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children
from doorward_agent.edges.carrying import MAX_VISITORS
from doorward_agent.edges.paramiko_child import MEMORY_BYTES
from doorward_agent.edges.paramiko_dialer import ParamikoConnection, ParamikoDialer

from tests.agent.conftest import Scene
from tests.agent.scripted_relay import ScriptedRelay
from tests.agent.test_carrying import send, visit
from tests.agent.tunnels import Bench
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.runner.site import is_running


@pytest.fixture
def tunnel() -> str:
    return "paramiko"


@pytest.fixture
def connection(bench: Bench) -> Iterator[ParamikoConnection]:
    """A child that the relay has admitted, without the edge around it."""
    dialer = ParamikoDialer(Config(state_dir=bench.state_dir), bench.folder)
    made = dialer.dial(Dial(1, bench.session, bench.relay.route(bench.certificate()), ()), bench.link())
    wait_until(made.is_admitted)
    yield made
    children.end(made.process)
    made.close()


def test_child_when_its_input_ends_then_it_ends(connection: ParamikoConnection) -> None:
    """An agent that is gone is noticed even where no death signal comes."""
    connection.input.close()
    assert connection.process.wait(5) == 0


AGENT = """
import json, socket, sys, time
from pathlib import Path
from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges.paramiko_dialer import ParamikoDialer
from doorward_protocol.orders import RelayRoute
folder, (session, route) = Path(sys.argv[1]), json.loads(sys.argv[2])
link = socket.create_connection((route["host"], route["port"]))
made = ParamikoDialer(Config(state_dir=Path(sys.argv[3])), folder).dial(Dial(1, session, RelayRoute(**route), ()), link)
with socket.socket(socket.AF_UNIX) as test:
    test.connect(str(folder / "test.sock"))
    socket.send_fds(test, [str(made.process.pid).encode()], [made.input.fileno(), made.output.fileno()])
time.sleep(300)
"""
"""An agent that lends both its ends of the child's pipes to somebody who keeps them."""


def test_child_when_the_agent_is_killed_and_its_pipes_stay_open_then_it_dies_by_its_death_signal(
    bench: Bench, programs: Programs
) -> None:
    """The signal does by itself what the end of its input does by itself, above: neither stands in for the other."""
    order = json.dumps([bench.session, bench.relay.route(bench.certificate())._asdict()])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bench.folder / "test.sock"))
        listening.listen()
        agent = programs.start(sys.executable, "-c", AGENT, bench.folder, order, bench.state_dir, name="agent")
        listening.settimeout(20)
        with listening.accept()[0] as lender:
            said, pipes, _, _ = socket.recv_fds(lender, 20, 2)
    child = int(said)
    with os.fdopen(pipes[0], "wb"), os.fdopen(pipes[1], "rb") as output:
        assert json.loads(output.readline())["admitted"] is True
        agent.kill()
        wait_until(lambda: not is_running(child), 5, "the child's end")


def test_child_when_it_is_looked_at_then_its_arguments_hold_no_secret(
    bench: Bench, connection: ParamikoConnection
) -> None:
    """What everybody on the device may read says nothing of relay, certificate or key."""
    words = Path(f"/proc/{connection.process.pid}/cmdline").read_text()
    assert bench.certificate().split(" ")[1] not in words
    assert "tunnel_key" not in words


def test_visitors_when_there_are_too_many_then_one_more_is_turned_away(bench: Bench, ends: ExitStack) -> None:
    """The number of visitors is bounded, and a place that is free again is given again."""
    bench.open()
    pairs = [visit(bench, ends) for _ in range(MAX_VISITORS)]
    with socket.create_connection(("127.0.0.1", bench.port), 5) as surplus:
        surplus.settimeout(5)
        assert surplus.recv(1) == b""
    send(pairs[-1].visitor, pairs[-1].door)
    pairs[0].visitor.close()
    pairs[0].door.close()

    def is_taken_again() -> bool:
        with socket.create_connection(("127.0.0.1", bench.port), 5) as one:
            one.settimeout(0.2)
            try:
                return one.recv(1) != b""
            except TimeoutError:
                return True

    wait_until(is_taken_again)


@pytest.mark.parametrize("choice", ["auto", "paramiko"])
def test_agent_when_it_dials_with_paramiko_then_it_imports_nothing_of_it(scene: Scene, choice: str) -> None:
    """The library is in the child alone: neither an idle agent nor one with an open door has loaded it."""
    with scene.config.open("a") as file:
        file.write(f'ssh_program = "{scene.folder}/none"\n')
    scene.config.write_text(scene.config.read_text().replace('tunnel = "paramiko"', f'tunnel = "{choice}"'))
    scene.start_agent("-X", "importtime")
    scene.console.next_ask()
    assert "doorward_agent.edges.tunnel" in scene.log()
    assert re.findall(r"paramiko|nacl|\bbcrypt", scene.log()) == []
    scene.open()
    assert re.findall(r"(?:\w+\.)*\w*(?:paramiko|nacl)\w*", scene.log()) == ["doorward_agent.edges.paramiko_dialer"]


def dial_scripted(bench: Bench, relay: ScriptedRelay) -> None:
    bench.dial(route=bench.relay.route(bench.certificate(), port=relay.port, host_keys=(relay.host_key,)))
    bench.edge.forward(1, bench.door_port)
    assert bench.next() == events.TunnelOpened(1)


def test_forward_when_somebody_visits_before_its_answer_then_the_door_hears_them(bench: Bench) -> None:
    """Who is there as soon as the relay listens, as its own probe is, does not find the forward unprepared."""
    with closing(ScriptedRelay(is_hasty=True)) as relay:
        dial_scripted(bench, relay)
        bench.door.settimeout(5)
        bench.door.accept()[0].close()


def test_relay_when_it_says_that_it_has_billions_of_extensions_then_the_device_counts_none_of_them(
    bench: Bench,
) -> None:
    """paramiko reads as many as a relay says (RFC 8308), from a packet that has ended: for an hour, on the device's one processor."""
    with closing(ScriptedRelay(is_boastful=True)) as relay:
        dial_scripted(bench, relay)


def test_relay_when_it_sends_more_than_the_window_then_the_tunnel_ends_and_not_the_device(bench: Bench) -> None:
    """A relay that floods a device takes down its own tunnel, long before the device's memory is full."""
    with closing(ScriptedRelay()) as relay:
        dial_scripted(bench, relay)
        threading.Thread(target=relay.flood, args=(2 * MEMORY_BYTES,), daemon=True).start()
        assert bench.next() == events.TunnelFailed(1, "tunnel.lost")
