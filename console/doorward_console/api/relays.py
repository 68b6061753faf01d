"""Relays over the API."""

from typing import Any

from django.http import HttpRequest
from doorward_protocol.reasons import reason_of
from ninja import Router

from doorward_console.api.caller import project_place, relay_place
from doorward_console.api.doors import reason_document
from doorward_console.api.shapes import PairIn, RelayOut
from doorward_console.fleet import changing
from doorward_console.fleet.models import Relay
from doorward_console.fleet.pairing import pair
from doorward_console.fleet.queries import relays_of
from doorward_console.people.rights import Right

router = Router(tags=["relays"])

_PLAIN = (
    "id", "name", "kind", "host", "ssh_port", "tunnel_user", "control_port", "low_port", "high_port", "ssh_host_keys",
    "version", "paired_at", "seen_at", "clock_skew_ms",
)  # fmt: skip


@router.get("/projects/{project_id}/relays", response=list[RelayOut])
def list_relays(request: HttpRequest, project_id: str) -> list[dict[str, Any]]:
    """List the project's relays."""
    return [_document(one) for one in relays_of(project_place(request, project_id).project)]


@router.post("/projects/{project_id}/relays", response={201: RelayOut})
def pair_relay(request: HttpRequest, project_id: str, asked: PairIn) -> dict[str, Any]:
    """Pair the relay whose line this is."""
    place = project_place(request, project_id, Right.MANAGE_RELAYS)
    return _document(pair(place.project, asked.line, asked.name, place.user, place.who.from_address))


@router.get("/relays/{relay_id}", response=RelayOut)
def see_relay(request: HttpRequest, relay_id: str) -> dict[str, Any]:
    """Give one relay."""
    return _document(relay_place(request, relay_id)[1])


@router.delete("/relays/{relay_id}", response={204: None})
def remove_relay(request: HttpRequest, relay_id: str) -> None:
    """Take the relay out of use; no device may have a port on it."""
    place, relay = relay_place(request, relay_id, Right.MANAGE_RELAYS)
    changing.remove_relay(relay, place.who)


def _document(relay: Relay) -> dict[str, Any]:
    why = reason_document(reason_of(relay.code)) if relay.code else None
    return {name: getattr(relay, name) for name in _PLAIN} | {"project": relay.project_id, "why": why}
