"""The whole way with real parts: install, pair, put, dial, probe, end."""

from collections.abc import Callable

import pytest

from tests.parts.waiting import wait_until
from tests.relay.conftest import Door
from tests.relay.relaying import Console, Device, Relay, listeners_on


@pytest.mark.feature("E8")
def test_a_granted_session_when_its_device_dials_then_its_door_answers_and_ends_at_once(
    relay: Relay, console: Console, dial: Callable[[str], Device], door: Callable[[str], Door]
) -> None:
    """A device with a live grant gets its port, the probe sees its door, and an end leaves nothing open."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    device.dial()

    assert device.forward(relay.ports[0], behind.port) == 0
    console.wait_for_verb("door.answered", grant.session)
    probed = console.call("POST", f"/v1/probe/{grant.session}").json()
    assert probed["open"] is True
    assert probed["banner"].endswith(grant.banner)

    ended = console.end(grant.session)
    assert ended.json() == {"session": grant.session, "closed": True, "ports_free": True}
    assert listeners_on(relay.ports[0]) == []
    wait_until(lambda: device.ask("check") != 0, 5, "the connection's end")
    console.wait_for_verb("doors.shut")
    assert console.verbs(grant.session) == [
        "grant.accepted", "tunnel.up", "door.answered", "grant.ending", "grant.ended", "tunnel.down",
    ]  # fmt: skip
