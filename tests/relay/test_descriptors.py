"""A relay that has no descriptor left sees nothing for a while, loses nobody, and closes what it was told to close."""

from collections.abc import Callable

import pytest

from tests.parts.limits import none_left
from tests.relay.relaying import Console, Device, Relay, listeners_on, of_managed

pytestmark = [of_managed, pytest.mark.real("root", "sshd", "ssh"), pytest.mark.feature("E9")]
LOOKS_S = 2.5
"""Longer than it takes the relay to look twice."""

Dial = Callable[[str], Device]


def test_relay_when_no_descriptor_is_left_then_its_tunnels_stay_and_it_goes_on_afterwards(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """The daemon does not end, nor does the sshd that it keeps; the next grant is taken."""
    grant = console.granted(relay.ports[0])
    device = dial(grant.session)
    device.dial()
    assert device.forward(relay.ports[0], 9) == 0
    console.wait_for_verb("tunnel.up", grant.session)
    assert relay.daemon is not None
    with none_left(relay.daemon.pid):
        relay.daemon.wait_for_log("kernel.unread", LOOKS_S * 4)
        assert relay.daemon.is_running
    assert listeners_on(relay.ports[0])
    console.granted(relay.ports[1])
