"""Orders: what the console asks of a device, as data (protocol.md §4).

Reads and writes; judges nothing (that is ``admission``). The body travels as a string so that its digest is over
exact bytes and an order can be signed again with new nonces without becoming another order.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from doorward_protocol import fields
from doorward_protocol.asked import Asked, asked_from
from doorward_protocol.commands import RunCommand, command_from, document_from_command
from doorward_protocol.digests import Digest, digest_of, is_digest
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, OrderId, ProjectId, RelayId, SessionId, is_id
from doorward_protocol.revisions import Revision

PARTS: Final = ("door", "settings", "confirm", "command")
BINDS: Final = ("*", "localhost")
RELAY_KINDS: Final = ("managed", "plain", "embedded")
MAX_SETTINGS_BYTES: Final = 32_768


class UnknownVersion(Exception):
    """The message is of a schema that this code does not know."""


class RelayRoute(NamedTuple):
    """One relay that a device may dial for this session."""

    relay: RelayId
    kind: str
    host: str
    port: int
    user: str
    host_keys: tuple[str, ...]
    certificate: str


class Forward(NamedTuple):
    """One reachable thing behind the door and the relay's port for it."""

    name: str
    target: str
    bind: str
    port: int


class Login(NamedTuple):
    """Who may log in at the door: one user, by these public keys."""

    user: str
    authorized_keys: tuple[str, ...]


class OpenDoor(NamedTuple):
    """Body of a door order that opens."""

    session: SessionId
    ends_at: int
    duration_s: int
    relays: tuple[RelayRoute, ...]
    forwards: tuple[Forward, ...]
    login: Login
    banner: str
    asked: Asked


class ShutDoor(NamedTuple):
    """Body of a door order that shuts; ``session`` is None for whatever is open."""

    session: SessionId | None


class ApplySettings(NamedTuple):
    """Body of a settings order."""

    values: Mapping[str, Any]


class ConfirmSettings(NamedTuple):
    """Body of the order that ends a trial well: the console has heard from the device as it is now."""

    revision: Revision
    digest: Digest


Body = OpenDoor | ShutDoor | ApplySettings | ConfirmSettings | RunCommand


class Order(NamedTuple):
    """One order, read but not judged."""

    id: OrderId
    project: ProjectId
    device: DeviceId
    nonce: str
    runner_nonce: str | None
    issued_at: int
    part: str
    revision: Revision
    body_text: str
    body: Body

    @property
    def digest(self) -> Digest:
        return digest_of(self.body_text.encode())


def payload_from_order(order: Order) -> bytes:
    """Write an order as it is signed."""
    document = {
        "type": "order",
        "v": 1,
        "id": order.id,
        "project": order.project,
        "device": order.device,
        "nonce": order.nonce,
        "runner_nonce": order.runner_nonce,
        "issued_at": order.issued_at,
        "part": order.part,
        "epoch": order.revision.epoch,
        "revision": order.revision.number,
        "body": order.body_text,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def order_from_payload(payload: bytes) -> Order:
    """Read an order.

    Raises:
        UnknownVersion: another type or schema version.
        Malformed: a field is missing or of the wrong type, or the body is none of its part.
    """
    source = fields.object_from_json(payload)
    if source.get("type") != "order" or source.get("v") != 1:
        raise UnknownVersion
    part = fields.text(source, "part", longest=20)
    body_text = fields.text(source, "body", longest=60_000)
    return Order(
        id=OrderId(_id(source, "id", "o")),
        project=ProjectId(_id(source, "project", "p")),
        device=DeviceId(_id(source, "device", "d")),
        nonce=fields.text(source, "nonce", longest=64),
        runner_nonce=fields.text_or_none(source, "runner_nonce", longest=64),
        issued_at=fields.integer(source, "issued_at"),
        part=part,
        revision=Revision(fields.integer(source, "epoch"), fields.integer(source, "revision")),
        body_text=body_text,
        body=body_from_text(part, body_text),
    )


def body_from_text(part: str, body_text: str) -> Body:
    """Read the body of ``part``; raises Malformed."""
    source = fields.object_from_json(body_text)
    if part == "settings":
        if len(body_text.encode()) > MAX_SETTINGS_BYTES:
            raise Malformed("body", f"at most {MAX_SETTINGS_BYTES} bytes")
        return ApplySettings(fields.mapping(source, "values"))
    if part == "confirm":
        return _confirmation(fields.mapping(source, "settings"))
    if part == "command":
        return command_from(source)
    if part != "door":
        raise Malformed("part", "one of " + ", ".join(PARTS))
    state = fields.text(source, "state", longest=10)
    if state == "shut":
        return ShutDoor(_session_or_none(source))
    if state != "open":
        raise Malformed("state", "open or shut")
    return _open_door(source)


def text_from_body(body: Body) -> str:
    """Write a body as the string that is signed and digested."""
    return json.dumps(_body_document(body), separators=(",", ":"), ensure_ascii=False)


def _body_document(body: Body) -> dict[str, Any]:
    match body:
        case ShutDoor(session):
            return {"state": "shut", "session": session}
        case ApplySettings(values):
            return {"values": values}
        case ConfirmSettings(revision, digest):
            return {"settings": {"epoch": revision.epoch, "revision": revision.number, "digest": digest}}
        case RunCommand():
            return document_from_command(body)
        case OpenDoor():
            return {
                "state": "open",
                "session": body.session,
                "ends_at": body.ends_at,
                "duration_s": body.duration_s,
                "relays": [_plain(relay) for relay in body.relays],
                "forwards": [_plain(forward) for forward in body.forwards],
                "login": _plain(body.login),
                "banner": body.banner,
                "asked": _plain(body.asked),
            }


def _plain(value: RelayRoute | Forward | Login | Asked) -> dict[str, Any]:
    """Give a flat message as a JSON object, fields in their order."""
    return value._asdict()


def _confirmation(source: Mapping[str, Any]) -> ConfirmSettings:
    digest = fields.text(source, "digest", longest=71)
    if not is_digest(digest):
        raise Malformed("digest", "a digest")
    revision = Revision(fields.integer(source, "epoch"), fields.integer(source, "revision"))
    return ConfirmSettings(revision, Digest(digest))


def _open_door(source: Mapping[str, Any]) -> OpenDoor:
    login = fields.mapping(source, "login")
    return OpenDoor(
        session=SessionId(_id(source, "session", "s")),
        ends_at=fields.integer(source, "ends_at"),
        duration_s=fields.integer(source, "duration_s", least=1),
        relays=tuple(route_from(relay) for relay in _some(source, "relays")),
        forwards=tuple(_forward(forward) for forward in _some(source, "forwards")),
        login=Login(fields.text(login, "user", longest=32), fields.texts(login, "authorized_keys")),
        banner=fields.text(source, "banner", longest=64),
        asked=asked_from(fields.mapping(source, "asked")),
    )


def route_from(source: Mapping[str, Any]) -> RelayRoute:
    """Read the way to one relay; raises Malformed."""
    kind = fields.text(source, "kind", longest=20)
    if kind not in RELAY_KINDS:
        raise Malformed("kind", "one of " + ", ".join(RELAY_KINDS))
    return RelayRoute(
        relay=RelayId(_id(source, "relay", "r")),
        kind=kind,
        host=fields.text(source, "host", longest=253),
        port=fields.integer(source, "port", least=1, most=65_535),
        user=fields.text(source, "user", longest=32),
        host_keys=fields.texts(source, "host_keys", most=8),
        certificate=fields.text(source, "certificate", longest=8192),
    )


def _forward(source: Mapping[str, Any]) -> Forward:
    bind = fields.text(source, "bind", longest=20)
    if bind not in BINDS:
        raise Malformed("bind", "* or localhost")
    return Forward(
        name=fields.text(source, "name", longest=40),
        target=fields.text(source, "target", longest=300),
        bind=bind,
        port=fields.integer(source, "port", least=1, most=65_535),
    )


def _some(source: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], ...]:
    found = fields.mappings(source, name, most=8)
    if not found:
        raise Malformed(name, "at least one")
    return found


def _session_or_none(source: Mapping[str, Any]) -> SessionId | None:
    if fields.text_or_none(source, "session", longest=18) is None:
        return None
    return SessionId(_id(source, "session", "s"))


def _id(source: Mapping[str, Any], name: str, kind: str) -> str:
    value = fields.text(source, name, longest=18)
    if not is_id(kind, value):
        raise Malformed(name, f"an id of kind {kind}")
    return value
