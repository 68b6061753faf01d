"""Devices and relays as pages and API show them: the database's looks, and nothing decided.

A ``Row`` is a device with its door; the filters are those of the address bar, so that a view can be sent to a colleague.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from doorward_console.fleet.models import Device, Forward, JoinToken, Relay
from doorward_console.history.queries import sharing_user
from doorward_console.maintenance.door import WORDS, Door, door_of
from doorward_console.maintenance.models import Intent, Session
from doorward_console.maintenance.sessions import standing_of
from doorward_console.maintenance.witnesses import Claim, DeviceHeard, claims_against
from doorward_console.people.models import Project
from doorward_console.times import ms_from_time, ms_from_time_or_none

DOOR_KINDS = (Intent.Kind.ON, Intent.Kind.OFF, Intent.Kind.EXTEND)


@dataclass(frozen=True, slots=True)
class Filter:
    """What of a project's devices is wanted; empty strings want everything."""

    q: str = ""
    state: str = ""
    presence: str = ""
    relay: str = ""

    @property
    def is_set(self) -> bool:
        return any((self.q, self.state, self.presence, self.relay))


@dataclass(frozen=True, slots=True)
class Row:
    """A device, what its door is, and who says otherwise.

    Attributes:
        shares_user: whoever logs in at the door is the agent's own user there, as the device itself said.
    """

    device: Device
    door: Door
    claims: tuple[Claim, ...] = ()
    shares_user: bool = False


def rows_of(project: Project, wanted: Filter = Filter()) -> list[Row]:  # frozen
    """List devices with their doors: open ones first, then those that move or failed, then by name."""
    rows = _rows(_filtered(Device.objects.filter(project=project, removed_at__isnull=True), wanted))
    if wanted.state in WORDS:
        rows = [row for row in rows if row.door.word == wanted.state]
    rank = {"open": 0, "closing": 1, "opening": 1, "failed": 2, "shut": 3}
    return sorted(rows, key=lambda row: (rank[row.door.word], row.device.name.lower()))


def row_of(device: Device) -> Row:
    """Give one device with its door."""
    return _rows(Device.objects.filter(pk=device.pk))[0]


def _filtered(devices: "QuerySet[Device]", wanted: Filter) -> "QuerySet[Device]":
    if wanted.q:
        devices = devices.filter(
            Q(name__icontains=wanted.q) | Q(pk__icontains=wanted.q) | Q(facts__hostname__icontains=wanted.q)
        )
    if wanted.state == "blocked":
        devices = devices.filter(state=Device.State.BLOCKED)
    if wanted.presence in {"connected", "away"}:
        devices = devices.filter(presence=wanted.presence)
    if wanted.relay:
        devices = devices.filter(relay_id=wanted.relay)
    return devices


def _rows(devices: "QuerySet[Device]") -> list[Row]:
    newest_session = Session.objects.filter(device=OuterRef("pk")).order_by("-requested_at").values("pk")[:1]
    newest_intent = Intent.objects.filter(device=OuterRef("pk"), kind__in=DOOR_KINDS).order_by("-pk").values("pk")[:1]
    found = list(
        devices.select_related("relay", "project")
        .annotate(newest_session=Subquery(newest_session), newest_intent=Subquery(newest_intent))
        .order_by("name")
    )
    sessions = Session.objects.select_related("relay").in_bulk([one.newest_session for one in found])
    intents = Intent.objects.in_bulk([one.newest_intent for one in found])
    rows = [_row(one, sessions.get(one.newest_session or ""), intents.get(one.newest_intent or 0)) for one in found]
    sharing = sharing_user(row.door.session for row in rows if row.door.session and row.door.is_live)
    return [replace(row, shares_user=row.door.session is not None and row.door.session.pk in sharing) for row in rows]


def _row(device: Device, session: Session | None, intent: Intent | None) -> Row:
    claims = () if session is None else _claims(device, session)
    return Row(device, door_of(session, intent), claims)


def _claims(device: Device, session: Session) -> tuple[Claim, ...]:
    seen_at = ms_from_time_or_none(device.seen_at)
    heard = DeviceHeard(device.door_state, device.door_session, seen_at, device.presence == "connected")
    return claims_against(standing_of(session), session.pk, heard, now=ms_from_time(timezone.now()))


def relays_of(project: Project) -> list[Relay]:
    """List a project's relays that have not been removed."""
    return list(Relay.objects.filter(project=project, removed_at__isnull=True).order_by("name"))


def ports_of(relay: Relay) -> Sequence[Device]:
    """List the devices that have a port on this relay, by port."""
    return list(Device.objects.filter(relay=relay, relay_port__isnull=False).order_by("relay_port"))


_USUAL_PORT: Final = 22001
"""Where to begin on a relay that gives out every port: above those of well-known services."""


def free_port_of(relay: Relay) -> int | None:
    """Give the lowest port of a relay that no device has for its door or a forward, as a suggestion; None when there is none left."""
    lowest = relay.low_port if relay.low_port > 1024 else _USUAL_PORT
    taken = set(Device.objects.filter(relay=relay, relay_port__isnull=False).values_list("relay_port", flat=True))
    taken |= set(Forward.objects.filter(relay=relay).values_list("port", flat=True))
    return next((port for port in range(lowest, relay.high_port + 1) if port not in taken), None)


def live_join_token(device: Device) -> JoinToken | None:
    """Find the newest join token that has not been used."""
    tokens = JoinToken.objects.filter(device=device, used_at__isnull=True)
    found: JoinToken | None = tokens.order_by("-made_at").first()
    return found
