"""Devices whose packets vanish: how long each kind of relay holds on to them."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from doorward_relay.edges.embedded.device import UNACKNOWLEDGED_MS

from tests.house.machine import CHECKOUT
from tests.parts.descriptors import tcp_sockets_of
from tests.parts.processes import PLAIN_ENVIRONMENT, run
from tests.relay.relaying import EMBEDDED, Console, Relay, of_embedded
from tests.relay.serving import Dial
from tests.relay.test_reaper import HALF_OPEN_S
from tests.relay.vanishing import COUNT_MAX, INTERVAL_S

pytestmark = [pytest.mark.real("root", "ip", "nft", "sshd", "ssh"), pytest.mark.timeout(120)]


def driven(kind: str, folder: Path) -> Any:
    """Run it in a network of its own."""
    argv: list[str | Path] = [sys.executable, "-m", "tests.relay.vanishing", kind, folder]
    ran = run(argv, env={**PLAIN_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}, limit_s=100)
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


@pytest.mark.feature("E9", "B5")
def test_device_when_its_packets_vanish_then_an_embedded_relay_frees_its_port_while_somebody_knocks(
    scratch: Path,
) -> None:
    """Nothing is acknowledged: the reaper's first proof, on the connections of our own process."""
    found = driven(EMBEDDED, scratch)
    assert found["freed_s"] is not None
    assert found["freed_s"] <= HALF_OPEN_S
    assert found["dead"] == ["unacknowledged"]


@of_embedded
def test_device_when_it_is_connected_then_the_kernel_is_told_when_to_give_it_up(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Beneath the reaper, and where the kernel tells it nothing: TCP_USER_TIMEOUT, on the live connection."""
    dial(console.granted(relay.ports[0]).session).dial()
    assert relay.daemon is not None
    with tcp_sockets_of(relay.daemon.pid) as found:
        devices = [one for one in found if one.getsockname()[1] == relay.ssh_port]
        limits = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for one in devices]
    assert limits == [UNACKNOWLEDGED_MS]


@pytest.mark.feature("E2", "E9")
def test_device_when_it_vanishes_then_a_plain_relays_keep_alive_frees_its_port_unless_somebody_knocks(
    scratch: Path,
) -> None:
    """As the relay's page says: within twice the interval times the count and one more, and not while connections are tried."""
    took = driven("plain", scratch)
    assert took["quiet_s"] is not None
    assert took["quiet_s"] <= 2 * INTERVAL_S * (COUNT_MAX + 1) + 2
    assert took["while_knocked_s"] is None
    assert took["after_knocking_s"] is not None
