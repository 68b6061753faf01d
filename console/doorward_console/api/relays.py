"""Relays over the API."""

from typing import Any

from django.http import HttpRequest
from doorward_protocol.reasons import reason_of
from ninja import Router

from doorward_console.api.caller import project_place, relay_place
from doorward_console.api.doors import reason_document
from doorward_console.api.shapes.relays import PairIn, PlainRelayIn, RelayOut
from doorward_console.fleet import changing
from doorward_console.fleet.models import Relay
from doorward_console.fleet.pairing import pair
from doorward_console.fleet.plain_relays import (
    PlainRelay,
    add_plain_relay,
    change_plain_relay,
    plain_relay_from_text,
)
from doorward_console.fleet.queries import relays_of
from doorward_console.people.rights import Right

router = Router(tags=["relays"])

_AS_IT_IS = (
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


@router.post("/projects/{project_id}/relays/plain", response={201: RelayOut})
def add_plain(request: HttpRequest, project_id: str, asked: PlainRelayIn) -> dict[str, Any]:
    """Add a relay that is any sshd, with one line in its authorized_keys and nothing of ours."""
    place = project_place(request, project_id, Right.MANAGE_RELAYS)
    return _document(add_plain_relay(place.project, _plain(asked), place.who))


@router.put("/relays/{relay_id}/plain", response=RelayOut)
def change_plain(request: HttpRequest, relay_id: str, asked: PlainRelayIn) -> dict[str, Any]:
    """Change what is known of a plain relay; not where it is while a door is open through it."""
    place, relay = relay_place(request, relay_id, Right.MANAGE_RELAYS)
    return _document(change_plain_relay(relay, _plain(asked), place.who))


@router.get("/relays/{relay_id}", response=RelayOut)
def see_relay(request: HttpRequest, relay_id: str) -> dict[str, Any]:
    """Give one relay."""
    return _document(relay_place(request, relay_id)[1])


@router.delete("/relays/{relay_id}", response={204: None})
def remove_relay(request: HttpRequest, relay_id: str) -> None:
    """Take the relay out of use; no device may have a port on it."""
    place, relay = relay_place(request, relay_id, Right.MANAGE_RELAYS)
    changing.remove_relay(relay, place.who)


def _plain(asked: PlainRelayIn) -> PlainRelay:
    keys = "\n".join(asked.ssh_host_keys)
    return plain_relay_from_text(
        name=asked.name, host=asked.host, ssh_port=asked.ssh_port, user=asked.user, host_keys=keys
    )


def _document(relay: Relay) -> dict[str, Any]:
    why = reason_document(reason_of(relay.code)) if relay.code else None
    return {name: getattr(relay, name) for name in _AS_IT_IS} | {"project": relay.project_id, "why": why}
