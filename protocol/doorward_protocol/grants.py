"""Grants: the signed permission that a relay needs before it admits a tunnel (protocol.md §7).

Reads, writes, and checks what a signature can prove; the ledger of the relay decides whether there is room for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorward_protocol import fields
from doorward_protocol.asked import Asked, asked_from
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId, is_id
from doorward_protocol.orders import BINDS, UnknownVersion
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SignatureRefused


@dataclass(frozen=True, slots=True)
class GrantedForward:
    """One port of the relay, public (``*``) or on its loopback (``localhost``)."""

    name: str
    bind: str
    port: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The permission for one session on one relay.

    Attributes:
        forwards: none for a rehearsal, whose device is admitted and refused everything.
    """

    project: ProjectId
    relay: RelayId
    sequence: Revision
    session: SessionId
    device: DeviceId
    issued_at: int
    ends_at: int
    forwards: tuple[GrantedForward, ...]
    banner: str
    asked: Asked


class GrantRefused(Exception):
    """The envelope is no grant for this relay; ``code`` starts with ``grant.``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def payload_from_grant(grant: Grant) -> bytes:
    """Write a grant as it is signed."""
    document = {
        "type": "grant",
        "v": 1,
        "project": grant.project,
        "relay": grant.relay,
        "epoch": grant.sequence.epoch,
        "seq": grant.sequence.number,
        "session": grant.session,
        "device": grant.device,
        "issued_at": grant.issued_at,
        "ends_at": grant.ends_at,
        "forwards": [{"name": one.name, "bind": one.bind, "port": one.port} for one in grant.forwards],
        "banner": grant.banner,
        "asked": {"by": grant.asked.by, "at": grant.asked.at, "reason": grant.asked.reason},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def grant_from_envelope(raw: bytes, keys: KeyRing, *, relay: RelayId, project: ProjectId) -> Grant:
    """Read a grant that a pinned key signed for this relay and project.

    Raises:
        GrantRefused: in the order of an order's steps 1 to 5, with the same words after ``grant.``.
    """
    try:
        grant = _grant(keys.verify(decode(raw, expected="grant")))
    except (NotAnEnvelope, SignatureRefused) as refused:
        raise GrantRefused(f"grant.{refused.code}") from None
    except UnknownVersion:
        raise GrantRefused("grant.unknown-version") from None
    except Malformed:
        raise GrantRefused("grant.malformed") from None
    if grant.relay != relay or grant.project != project:
        raise GrantRefused("grant.other-relay")
    return grant


def _grant(payload: bytes) -> Grant:
    source = fields.object_from_json(payload)
    if source.get("type") != "grant" or source.get("v") != 1:
        raise UnknownVersion
    forwards = fields.mappings(source, "forwards", most=8)
    return Grant(
        project=ProjectId(_id(source, "project", "p")),
        relay=RelayId(_id(source, "relay", "r")),
        sequence=Revision(fields.integer(source, "epoch"), fields.integer(source, "seq", least=1)),
        session=SessionId(_id(source, "session", "s")),
        device=DeviceId(_id(source, "device", "d")),
        issued_at=fields.integer(source, "issued_at"),
        ends_at=fields.integer(source, "ends_at"),
        forwards=tuple(_forward(one) for one in forwards),
        banner=fields.text(source, "banner", longest=64),
        asked=asked_from(fields.mapping(source, "asked")),
    )


def _forward(source: Mapping[str, Any]) -> GrantedForward:
    bind = fields.text(source, "bind", longest=20)
    if bind not in BINDS:
        raise Malformed("bind", "* or localhost")
    return GrantedForward(
        fields.text(source, "name", longest=40), bind, fields.integer(source, "port", least=1, most=65_535)
    )


def _id(source: Mapping[str, Any], name: str, kind: str) -> str:
    value = fields.text(source, name, longest=18)
    if not is_id(kind, value):
        raise Malformed(name, f"an id of kind {kind}")
    return value
