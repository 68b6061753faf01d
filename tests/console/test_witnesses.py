"""Who says something else of a door than the console: named after a moment, and only while it matters."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from doorward_console.maintenance.facts import RELAY_GRANTED
from doorward_console.maintenance.truth import GRACE_MS, Standing, State, Step
from doorward_console.maintenance.witnesses import SETTLE_MS, DeviceHeard, claims_against

from tests.console.conftest import make_house
from tests.console.visiting import address, ask, client_of, open_session

START = 1_790_000_000_000
END = START + 3_600_000
NOW = START + 100_000
SESSION = "s-aaaaaaaaaaaaaaaa"
GRANTED = (Step(RELAY_GRANTED, START, None),)

OPEN = Standing(State.OPEN, START, END, steps=GRANTED, opened_at=START + 1000)
LOST = replace(OPEN, lost_at=START + 2000, code="session.lost")
CLOSING = replace(OPEN, state=State.CLOSING, closing_at=START + 3000, code="session.turned-off")
STUCK = replace(CLOSING, code="relay.not-closed", device_shut_at=START + 4000)
AWAY = replace(CLOSING, code="relay.unreachable", device_shut_at=START + 4000)
CLOSED = replace(CLOSING, state=State.CLOSED, closed_at=START + 5000, relay_shut_at=START + 5000)
ON_ITS_WORD = replace(AWAY, state=State.CLOSED, closed_at=START + 5000)
NEVER_PUT = Standing(State.FAILED, START, END, "relay.unreachable", closed_at=START + 5000)

SAYS_OPEN = DeviceHeard("OPEN", SESSION, NOW - 1000, is_connected=True)
SAYS_SHUT = DeviceHeard("SHUT", None, NOW - 1000, is_connected=True)
SAID_OPEN = replace(SAYS_OPEN, is_connected=False)
NEVER_HEARD = DeviceHeard("SHUT", None, None, is_connected=False)

TABLE: list[tuple[Standing, DeviceHeard, int, tuple[tuple[str, str], ...]]] = [
    (OPEN, SAYS_OPEN, NOW, ()),
    (OPEN, SAYS_SHUT, NOW, (("device", "its door is shut"),)),
    (OPEN, replace(SAYS_SHUT, heard_at=START), NOW, ()),  # its word is older than the door
    (OPEN, SAID_OPEN, NOW, ()),  # away from the broker, and the door answers
    (LOST, SAYS_OPEN, NOW, (("relay", "the door does not answer"),)),
    (CLOSING, SAYS_OPEN, NOW, (("device", "its door is open"), ("relay", "nothing yet"))),
    (CLOSING, SAYS_OPEN, START + 3000 + SETTLE_MS - 1, ()),
    (STUCK, SAYS_SHUT, NOW, (("relay", "something still listens on the port"),)),
    (AWAY, SAYS_SHUT, NOW, (("relay", "nothing: the console cannot reach it"),)),
    (CLOSED, SAYS_SHUT, NOW, ()),
    (CLOSED, NEVER_HEARD, NOW, ()),
    (CLOSED, SAYS_OPEN, NOW, (("device", "its door is open"),)),
    (CLOSED, SAID_OPEN, NOW, (("device", "its door is open, and is away since"),)),
    (CLOSED, SAID_OPEN, END + GRACE_MS, ()),  # it has shut by itself
    (CLOSED, SAYS_OPEN, END + GRACE_MS, (("device", "its door is open"),)),  # it should have
    (CLOSED, replace(SAYS_OPEN, session="s-bbbbbbbbbbbbbbbb"), NOW, ()),  # another session's business
    (ON_ITS_WORD, SAYS_SHUT, NOW, (("relay", "nothing: the console cannot reach it"),)),
    (ON_ITS_WORD, SAYS_SHUT, END + GRACE_MS, ()),
    (NEVER_PUT, SAYS_SHUT, NOW, ()),
    (replace(OPEN, state=State.OPENING), SAYS_SHUT, NOW, ()),
]  # fmt: skip


@pytest.mark.feature("E9")
@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row[0].state.value}-{row[0].code}-{row[1].state}-{row[2] - START}"
)
def test_sides_when_one_says_otherwise_then_it_is_named(
    row: tuple[Standing, DeviceHeard, int, tuple[tuple[str, str], ...]],
) -> None:
    """Each standing and what device and relay say of it lead to the written claims."""
    standing, heard, now, claims = row
    assert tuple((one.who, one.says) for one in claims_against(standing, SESSION, heard, now=now)) == claims


@pytest.mark.feature("E9")
def test_page_when_the_device_says_open_of_a_closed_session_then_it_says_who_disagrees(db: None) -> None:
    """A door that the relay has shut and of which its device says that it is open: the page names the device, so does the API."""
    house = make_house()
    earlier = timezone.now() - timedelta(seconds=60)
    session = open_session(house, state="closed", closed_at=earlier, relay_shut_at=earlier)
    device = house.device
    device.door_state, device.door_session, device.presence, device.seen_at = (
        "OPEN",
        session.pk,
        "connected",
        timezone.now(),
    )
    device.save()
    client = client_of(house.owner)
    text = ask(client, "GET", address("device", house)).content.decode()
    assert "The device says: its door is open." in text
    assert "session.disagreement" in text
    said = ask(client, "GET", f"/api/v1/devices/{device.pk}/door").json()
    assert said["disagreement"] == [{"who": "device", "says": "its door is open"}]
    device.door_state, device.door_session = "SHUT", None
    device.save()
    assert "session.disagreement" not in ask(client, "GET", address("device", house)).content.decode()
