"""Desired parts, orders and grants as they are built, sealed and stored; what they say was decided before (``signing``).

Each function works within its caller's transaction, and its caller holds the device's and the relay's rows.
"""

from datetime import datetime

from django.utils import timezone
from doorward_protocol.asked import Asked
from doorward_protocol.digests import digest_of
from doorward_protocol.grants import Grant as GrantMessage
from doorward_protocol.grants import GrantedForward, payload_from_grant
from doorward_protocol.ids import DeviceId, OrderId, ProjectId, RelayId, SessionId
from doorward_protocol.orders import (
    Body,
    Forward,
    Login,
    OpenDoor,
    RelayRoute,
    body_from_text,
    payload_from_order,
    text_from_body,
)
from doorward_protocol.orders import Order as OrderMessage
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import SigningKey
from doorward_protocol.targets import DOOR

from doorward_console.fleet.models import Device, Relay
from doorward_console.identifiers import new_order_id
from doorward_console.keys.models import EngineerPair
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.decisions import next_revision
from doorward_console.maintenance.models import Desired, Grant, Order, Session
from doorward_console.people.models import Project
from doorward_console.times import ms_from_time


def engineers_key_of(project: str) -> str | None:
    found = EngineerPair.objects.filter(project_id=project, replaced_at__isnull=True)
    line: str | None = found.values_list("public_key", flat=True).first()
    return line


def open_body(keys: SignerKeys, session: Session, device: Device, relay: Relay, now: datetime) -> OpenDoor:
    route = route_to(keys, device, relay, session.id, now, session.ends_at)
    pair = engineers_key_of(session.project_id)
    return OpenDoor(
        session=SessionId(session.id),
        ends_at=ms_from_time(session.ends_at),
        duration_s=session.duration_s,
        relays=(route,),
        forwards=(
            Forward(DOOR, DOOR, session.bind, session.relay_port),
            *(Forward(one["name"], one["target"], one["bind"], one["port"]) for one in session.forwards),
        ),
        login=Login(session.login_user, (pair,) if pair else ()),
        banner=session.banner,
        asked=_asked(session),
    )


def route_to(
    keys: SignerKeys, device: Device, relay: Relay, session: str, now: datetime, ends_at: datetime
) -> RelayRoute:
    """Certify a device's tunnel key for a session, and say how the relay is reached; raises BadPublicKey."""
    certificate = keys.tunnel_ca(device.project_id).tunnel_certificate(
        device.tunnel_key,
        device=device.id,
        principals=_principals(session, device.project_id, relay),
        now=now,
        ends_at=ends_at,
    )
    return RelayRoute(
        relay=RelayId(relay.id),
        kind=relay.kind,
        host=relay.host,
        port=relay.ssh_port,
        user=relay.tunnel_user,
        host_keys=tuple(relay.ssh_host_keys),
        certificate=certificate,
    )


def _principals(session: str, project: str, relay: Relay) -> tuple[str, ...]:
    """Name whom the certificate is for: at a plain relay the whole project, which is all that its one line can name.

    A managed relay's certificate does not name the project: it would be good at every plain relay of it.
    """
    return (session, project) if relay.kind == Relay.Kind.PLAIN else (session,)


def _asked(session: Session) -> Asked:
    return Asked(by=session.asked_by_name, at=ms_from_time(session.requested_at), reason=session.reason)


def desire(project: Project, device: Device, part: str, body: Body, session: Session | None) -> Desired:
    """Make ``body`` what the device should be; ``session`` is null when it should be shut."""
    held: Desired | None = Desired.objects.select_for_update(no_key=True).filter(device=device, part=part).first()
    revision = next_revision(Revision(held.epoch, held.revision) if held else None, project.epoch)
    text = text_from_body(body)
    values = {
        "epoch": revision.epoch,
        "revision": revision.number,
        "body": text,
        "digest": digest_of(text.encode()),
        "session": session,
        "at": timezone.now(),
    }
    made: Desired
    made, _ = Desired.objects.update_or_create(device=device, part=part, defaults=values)
    stale = Order.objects.filter(device=device, part=part, state__in=(Order.State.ASKED, Order.State.SIGNED))
    stale.update(state=Order.State.DROPPED)
    return made


def sign_grant(keys: SignerKeys, session: Session, relay: Relay, now: datetime) -> Grant:
    """Sign the relay's permission under its next sequence; the caller holds the relay's row."""
    sequence = next_sequence(relay, session.project.epoch)
    message = GrantMessage(
        project=ProjectId(session.project_id),
        relay=RelayId(relay.id),
        sequence=sequence,
        session=SessionId(session.id),
        device=DeviceId(session.device_id),
        issued_at=ms_from_time(now),
        ends_at=ms_from_time(session.ends_at),
        forwards=(
            GrantedForward(DOOR, session.bind, session.relay_port),
            *(GrantedForward(one["name"], one["bind"], one["port"]) for one in session.forwards),
        ),
        banner=session.banner,
        asked=_asked(session),
    )
    envelope = keys.grant(session.project_id).seal("grant", payload_from_grant(message))
    made: Grant = Grant.objects.create(
        session=session, relay=relay, epoch=sequence.epoch, sequence=sequence.number, envelope=envelope, signed_at=now
    )
    return made


def next_sequence(relay: Relay, epoch: int) -> Revision:
    """Take the relay's next sequence; the caller holds its row."""
    sequence = next_revision(Revision(relay.epoch, relay.sequence), epoch)
    relay.epoch, relay.sequence = sequence
    relay.save(update_fields=["epoch", "sequence"])
    return sequence


def order_if_connected(keys: SignerKeys, device: Device, desired: Desired, now: datetime) -> str | None:
    """Sign an order with the nonces of the device's last ask; a device that is away is told when it asks."""
    if device.presence != "connected" or not device.nonce:
        return None
    made: Order = Order(id=new_order_id(), device=device, part=desired.part, nonce=device.nonce, asked_at=now)
    seal_order(keys, made, device, desired, now)
    made.save(force_insert=True)
    return made.id


def seal_order(keys: SignerKeys, order: Order, device: Device, desired: Desired, now: datetime) -> None:
    """Sign an order of what is desired, with the nonces that the device has now."""
    seal_with(keys.grant(device.project_id), order, device, desired, now)


def seal_with(key: SigningKey, order: Order, device: Device, desired: Desired, now: datetime) -> None:
    """Do the same with the project's grant key in hand: opening it costs more than a signature."""
    message = OrderMessage(
        id=OrderId(order.id),
        project=ProjectId(device.project_id),
        device=DeviceId(device.id),
        nonce=order.nonce,
        runner_nonce=device.runner_nonce,
        issued_at=ms_from_time(now),
        part=desired.part,
        revision=Revision(desired.epoch, desired.revision),
        body_text=desired.body,
        body=body_from_text(desired.part, desired.body),
    )
    order.epoch, order.revision = desired.epoch, desired.revision
    order.envelope = key.seal("order", payload_from_order(message))
    order.state, order.signed_at = Order.State.SIGNED, now
