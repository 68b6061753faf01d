"""Tunnels that lead nowhere are found and ended, and slow ones are left alone."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from doorward_protocol.records import Fact
from doorward_relay.effects import DoubtDoor, EndTunnel, WriteRecord
from doorward_relay.reaper import Felt, Reaped, reap
from doorward_relay.view import Pulse, View
from doorward_relay.watch import KnownTunnel

from tests.parts.processes import Program
from tests.parts.waiting import wait_until
from tests.relay.conftest import Door
from tests.relay.relaying import Console, Relay, listeners_on
from tests.relay.serving import Dial
from tests.relay.test_ledger import NOW, grant
from tests.relay.test_watch import TUNNEL

SESSION = grant().session
HALF_OPEN_S = 35
"""What docs/reliability.md promises."""


def _reap(pulse: Pulse, *, unanswered: int = 0, felt: Felt | None = None, at: int = NOW, is_up: bool = True) -> Reaped:
    known = KnownTunnel(TUNNEL, grant(), is_up, NOW)
    view = View((TUNNEL,), TUNNEL.listeners, (), {}, {TUNNEL.number: pulse})
    return reap(felt or Felt(), [known], view, {SESSION: unanswered}, now=at)


def test_a_tunnel_when_nothing_is_acknowledged_for_long_then_it_is_recorded_once_and_ended_each_time() -> None:
    """The kernel tries again and again and hears nothing: there is no link."""
    first = _reap(Pulse(1, 30_000, 30_000))
    assert first.effects == (DoubtDoor(SESSION),)
    dead = _reap(Pulse(6, 50_000, 50_000), felt=first.felt, at=NOW + 20_000)
    data = {"peer": "10.0.0.11", "why": "unacknowledged", "unheard_ms": 50_000, "retransmits": 6}
    fact = Fact("tunnel.dead", SESSION, grant().device, data)
    assert dead.effects == (WriteRecord(fact), EndTunnel(TUNNEL))
    assert _reap(Pulse(6, 51_000, 51_000), felt=dead.felt, at=NOW + 21_000).effects == (EndTunnel(TUNNEL),)


@pytest.mark.parametrize(
    ("pulse", "repeating_ms", "unanswered"),
    [
        pytest.param(Pulse(0, 90_000, 11_000), 0, 0, id="idle between two keep-alives"),
        pytest.param(Pulse(6, 50_000, 50_000), 19_000, 0, id="something is under way since a moment only"),
        pytest.param(Pulse(4, 50_000, 50_000), 50_000, 0, id="a slow link, where the kernel has tried four times"),
        pytest.param(Pulse(6, 19_000, 50_000), 50_000, 0, id="an acknowledgement came"),
        pytest.param(Pulse(6, 50_000, 1_000), 50_000, 9, id="our bytes are lost and its bytes come"),
        pytest.param(Pulse(0, 10, 24_000), 0, 9, id="probes are unanswered and a keep-alive was answered"),
        pytest.param(Pulse(0, 10, 60_000), 0, 2, id="silent and not probed often enough"),
    ],
)
def test_a_tunnel_when_it_is_slow_or_lossy_or_idle_then_it_is_not_ended(
    pulse: Pulse, repeating_ms: int, unanswered: int
) -> None:
    """One proof missing, and it lives."""
    felt = Felt({TUNNEL.key: NOW - repeating_ms})
    assert EndTunnel(TUNNEL) not in _reap(pulse, unanswered=unanswered, felt=felt).effects


def test_a_tunnel_when_its_program_hangs_then_missing_answers_end_it() -> None:
    """A stopped program's kernel acknowledges everything: only its silence tells."""
    reaped = _reap(Pulse(0, 10, 25_000), unanswered=3)
    told = [one.fact.data["why"] for one in reaped.effects if isinstance(one, WriteRecord)]
    assert (told, reaped.effects[-1]) == (["unanswered"], EndTunnel(TUNNEL))


def test_a_tunnel_when_bytes_were_acknowledged_in_between_then_the_waiting_begins_anew() -> None:
    """Two short breaks are not one long one."""
    broken = _reap(Pulse(3, 5_000, 5_000))
    mended = _reap(Pulse(0, 100, 5_000), felt=broken.felt, at=NOW + 5_000)
    assert mended.felt == Felt()


@contextmanager
def _knocking(*ports: int) -> Iterator[None]:
    """Let an engineer try to connect to each port twice a second, and keep what he gets."""
    over, held = threading.Event(), list[socket.socket]()

    def knock() -> None:
        while not over.wait(0.5):
            for port in ports:
                with suppress(OSError):
                    held.append(socket.create_connection(("127.0.0.1", port), 1))

    thread = threading.Thread(target=knock, name="knocking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for one in held:
            one.close()


@pytest.mark.timeout(120)
@pytest.mark.feature("B5", "E9")
def test_a_frozen_device_when_an_engineer_keeps_knocking_then_its_port_is_free_and_its_living_neighbours_stay(
    relay: Relay, console: Console, dial: Dial, door: Callable[..., Door]
) -> None:
    """Its kernel acknowledges all the time; a door that takes 12 s and a device that hung for 15 s go on beside it."""
    frozen, slow, hung = (_opened(relay, console, dial, door, n, slow_s) for n, slow_s in enumerate((0, 12, 0)))
    with _knocking(*relay.ports[:3]):
        frozen.signal(signal.SIGSTOP)
        hung.signal(signal.SIGSTOP)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 15, 20, "the hung device's time to pass")
        hung.signal(signal.SIGCONT)
        wait_until(lambda: not listeners_on(relay.ports[0]), HALF_OPEN_S, "the frozen device's port to be free")
        took_s = time.monotonic() - began
    assert took_s <= HALF_OPEN_S
    console.wait_for_verb("tunnel.down")
    dead = [one for one in console.records() if one.fact.verb == "tunnel.dead"]
    assert [one.fact.data["why"] for one in dead] == ["unanswered"]
    assert [bool(listeners_on(port)) for port in relay.ports[1:3]] == [True, True]
    assert console.verbs().count("tunnel.down") == 1
    assert slow.is_running


def _opened(relay: Relay, console: Console, dial: Dial, door: Callable[..., Door], n: int, slow_s: float) -> Program:
    """Open a session on the relay's n-th port with a door that answers after ``slow_s``; gives the device's ssh."""
    granted = console.granted(relay.ports[n])
    device = dial(granted.session)
    client = device.dial()
    assert device.forward(relay.ports[n], door(granted.banner, slow_s).port) == 0
    console.wait_for_verb("tunnel.up", granted.session)
    return client
