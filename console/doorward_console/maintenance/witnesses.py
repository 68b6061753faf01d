"""Who says what of a door, where console, device and relay do not say the same.

A door that was just moved is allowed ``SETTLE_MS``: orders, records and probes are on their way then. After that, whoever
still says something else than the console is named, and so is whoever should have spoken and cannot be reached: as long
as the end that all three keep by themselves has not passed. Green with a device that is away from the broker is no
disagreement: the door answers. Pure: what is known arrives as values. Called by ``fleet.queries`` for pages and API, which
show it with the reason ``session.disagreement``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from doorward_console.maintenance.facts import RELAY_GRANTED
from doorward_console.maintenance.truth import AT_REST, GRACE_MS, Standing, State

DISAGREEMENT: Final = "session.disagreement"
SETTLE_MS: Final = 10_000
"""Longer than a relay takes to end a session and a device to obey, shorter than anybody waits without asking why."""

Who = Literal["device", "relay"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says that the console does not, as the end of a sentence: "The device says that …"."""

    who: Who
    says: str


@dataclass(frozen=True, slots=True)
class DeviceHeard:
    """What the device said of itself last, as in its ask. ``heard_at`` is ms, or None when it never asked."""

    state: str
    session: str | None
    heard_at: int | None
    is_connected: bool


def claims_against(standing: Standing, session: str, heard: DeviceHeard, *, now: int) -> tuple[Claim, ...]:
    """Name whoever says something else of this session than the console does; nobody while it is still settling."""
    since = _since(standing)
    is_over = now >= standing.ends_at + GRACE_MS and not heard.is_connected
    if since is None or now < since + SETTLE_MS or is_over:
        return ()
    if standing.state is State.OPEN:
        return tuple(_against_open(standing, session, heard))
    return tuple(_against_shut(standing, session, heard, now))


def _since(standing: Standing) -> int | None:
    """Give when the console came to say what it says; None where it says only that it is trying."""
    match standing.state:
        case State.OPEN:
            return standing.lost_at or standing.opened_at
        case State.CLOSING:
            return standing.closing_at
        case State.CLOSED | State.FAILED:
            return standing.closed_at
        case _:
            return None


def _against_open(standing: Standing, session: str, heard: DeviceHeard) -> Iterator[Claim]:
    is_news = heard.heard_at is not None and heard.heard_at >= (standing.opened_at or 0) + SETTLE_MS
    if heard.is_connected and is_news and heard.session != session:
        yield Claim("device", "its door is shut")
    if standing.lost_at is not None:
        yield Claim("relay", "the door does not answer")


def _against_shut(standing: Standing, session: str, heard: DeviceHeard, now: int) -> Iterator[Claim]:
    if heard.session == session and heard.state != "SHUT" and standing.device_shut_at is None:
        yield Claim(
            "device", f"its door is {heard.state.lower()}" + ("" if heard.is_connected else ", and is away since")
        )
    was_granted = any(step.step == RELAY_GRANTED and step.code is None for step in standing.steps)
    if standing.relay_shut_at is not None or standing.is_plain or not was_granted or now >= standing.ends_at + GRACE_MS:
        return
    if standing.code == "relay.not-closed":
        yield Claim("relay", "something still listens on the port")
    elif standing.code.startswith("relay.") and standing.code != "relay.grant-ended":
        yield Claim("relay", "nothing: the console cannot reach it")
    elif standing.state not in AT_REST:
        yield Claim("relay", "nothing yet")
