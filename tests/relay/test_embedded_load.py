"""The embedded relay under load and abuse: what one peer does costs the others nothing, and memory is bounded."""

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from doorward_protocol.grants import Grant
from doorward_relay.edges.embedded.device import MOST_VISITORS
from doorward_relay.edges.embedded.server import LOGIN_S, MOST_STRANGERS

from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.relay.relaying import Console, Relay, install_relay, listeners_on, of_embedded
from tests.relay.serving import Dial, Serving, answers, echo, is_served, opened, visit

pytestmark = [of_embedded, pytest.mark.real("ssh")]

MIB = 1024 * 1024


def _memory(relay: Relay) -> int:
    """Resident bytes of the relay's process (proc(5), statm)."""
    assert relay.daemon is not None
    return int(Path(f"/proc/{relay.daemon.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_device_when_it_stops_reading_then_others_go_on_and_memory_stays(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """What a stopped device cannot take is not read from its visitors; its neighbour's echo comes back at once."""
    behind = service(echo)
    _, _, stopped = opened(relay, console, dial, behind.port)
    opened(relay, console, dial, behind.port, n=1)
    pushing = [visit(relay.ports[0]) for _ in range(24)]
    assert all(answers(one) for one in pushing)
    before = _memory(relay)
    stopped.signal(signal.SIGSTOP)
    with visit(relay.ports[1]) as neighbour:
        pushed = sum(_push(one, 64 * MIB) for one in pushing)
        began = time.monotonic()
        neighbour.sendall(b"x" * MIB)
        got = 0
        while got < MIB:
            got += len(neighbour.recv(65_536))
        assert time.monotonic() - began < 3
    assert pushed < 24 * 64 * MIB
    assert _memory(relay) - before < 8 * MIB  # their windows alone would be 48
    for one in pushing:
        one.close()


def test_a_door_when_it_stops_reading_then_its_visitors_are_held_back_and_memory_stays(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """The device's connection is well, one service behind it is not: its window ends, and with it the reading."""
    opened(relay, console, dial, service(lambda _: _never_read()).port)
    before = _memory(relay)
    pushing = [visit(relay.ports[0]) for _ in range(2)]
    pushed = sum(_push(one, 64 * MIB) for one in pushing)
    assert pushed < 2 * 24 * MIB
    assert _memory(relay) - before < 8 * MIB
    for one in pushing:
        one.close()


def _never_read() -> None:
    threading.Event().wait(60)


def _push(one: socket.socket, most: int) -> int:
    """Send until the other side takes no more for a moment; gives how much it took."""
    one.settimeout(0.2)
    sent = 0
    try:
        while sent < most:
            sent += one.send(b"x" * 65_536)
    except TimeoutError:
        pass
    return sent


def test_a_visitor_when_he_stops_reading_then_the_device_is_held_back_and_memory_stays(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """A window and a buffer for each visitor that does not read, whatever the device would send."""
    sent: list[int] = []

    def flood(one: socket.socket) -> None:
        for _ in one.recv(1):  # the relay's probes say nothing
            _pour(one)

    def _pour(one: socket.socket) -> None:
        for _ in range(1024):
            one.sendall(b"z" * 65_536)
            sent.append(65_536)

    opened(relay, console, dial, service(flood).port)
    before = _memory(relay)
    visitors = [visit(relay.ports[0]) for _ in range(4)]
    for one in visitors:
        one.sendall(b"x")
    _wait_until_still(lambda: len(sent))
    assert sum(sent) < 4 * 64 * MIB
    assert _memory(relay) - before < 4 * 8 * MIB
    assert console.get("/healthz").status_code == 200
    for one in visitors:
        one.close()


def _wait_until_still(value: Callable[[], int]) -> None:
    last = [(value(), time.monotonic())]

    def is_still() -> bool:
        if value() != last[0][0]:
            last[0] = (value(), time.monotonic())
        return time.monotonic() - last[0][1] > 1

    wait_until(is_still, 30, "stillness")


def test_visitors_when_there_are_too_many_then_the_next_is_turned_away_and_one_who_leaves_makes_room(
    relay: Relay, console: Console, dial: Dial, service: Serving
) -> None:
    """One public port cannot use up the relay's descriptors."""
    opened(relay, console, dial, service(echo).port)
    came = [visit(relay.ports[0]) for _ in range(MOST_VISITORS + 20)]
    inside = [one for one in came if answers(one)]
    assert MOST_VISITORS - 3 <= len(inside) <= MOST_VISITORS  # the relay's own probes are visitors, too
    assert not is_served(relay.ports[0])
    for one in came:
        one.close()
    wait_until(lambda: is_served(relay.ports[0]), 5, "room")


def test_strangers_when_they_only_connect_then_they_are_bounded_and_devices_still_come_in(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Whoever connects and says nothing is cut for those who come after him, long before the grace has passed."""
    strangers = [visit(relay.ssh_port) for _ in range(MOST_STRANGERS + 200)]
    assert relay.daemon is not None
    descriptors = f"/proc/{relay.daemon.pid}/fd"
    granted = console.granted(relay.ports[0])
    device = dial(granted.session)
    wait_until(lambda: device.attempt("-v", device.target, "hello").returncode == 0, LOGIN_S / 2, "a way in")
    assert len(os.listdir(descriptors)) < MOST_STRANGERS + 50  # noqa: PTH208 - names alone
    for one in strangers:
        one.close()


@pytest.mark.feature("B14")
@pytest.mark.feature("B15")
def test_two_hundred_devices_when_they_dial_at_once_then_all_are_up_in_one_process(
    programs: Programs, scratch: Path, kind: str
) -> None:
    """A fleet after an outage: every tunnel comes up and carries, and each costs kilobytes."""
    first = 24_000
    relay = install_relay(programs, scratch / "relay", range(first, first + FLEET), kind)
    relay.start()
    console = Console(relay, scratch)
    console.pair()
    granted = [console.grant(port) for port in relay.ports]
    with console.http(console.client) as http:
        for one in granted:
            assert http.put(f"/v1/grants/{one.session}", json={"grant": console.envelope(one)}).status_code == 200
    before = _memory(relay)
    asyncio.run(_dial_all(relay, console, granted))
    assert _memory(relay) - before < FLEET * MIB / 4
    wait_until(lambda: not listeners_on(*relay.ports), 10, "the ports")
    assert console.get("/readyz").json()["ok"] is True


FLEET = 200


async def _dial_all(relay: Relay, console: Console, granted: list[Grant]) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    certified = [
        (key, asyncssh.import_certificate(console.tunnel_ca.certify(public, [one.session]))) for one in granted
    ]
    dialled = await asyncio.gather(*(_dial(relay, one) for one in certified))
    forwards = await asyncio.gather(
        *(one.forward_remote_port("", port, "127.0.0.1", 9) for one, port in zip(dialled, relay.ports, strict=True))
    )
    assert [one.get_port() for one in forwards] == list(relay.ports)
    assert all(listeners_on(port) for port in (relay.ports[0], relay.ports[-1]))
    for one in dialled:
        one.close()
    await asyncio.gather(*(one.wait_closed() for one in dialled))


async def _dial(
    relay: Relay, certified: tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1", relay.ssh_port, username="doorward-tunnel", client_keys=[certified], config=None, agent_path=None,
        known_hosts=asyncssh.import_known_hosts(relay.known_hosts()), login_timeout=60, connect_timeout=60,
    )  # fmt: skip
