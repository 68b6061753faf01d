"""What the signer does with one row: decide, sign, write, in one transaction.

An intent becomes a session, a desired part, a grant and an order, or is refused with a code. An order that the worker
asked for is signed again for the nonces that the device has now. Nothing of what web or worker wrote is believed beyond
what the decision table checks; the asker's role is looked up again.

Rows are locked in one order everywhere: device, relay, then the rest.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from doorward_protocol.ids import SessionId, is_id
from doorward_protocol.orders import (
    ApplySettings,
    ShutDoor,
)

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.licensing import licence_facts
from doorward_console.fleet.models import Device, Relay
from doorward_console.history.writing import note
from doorward_console.identifiers import new_session_id
from doorward_console.keys.opening import SignerKeys
from doorward_console.keys.ssh import is_certifiable, openssh_fingerprint
from doorward_console.maintenance import forwards
from doorward_console.maintenance.decisions import (
    Ceilings,
    ExtendFacts,
    OnFacts,
    extended_end,
    refusal_of_extension,
    refusal_of_on,
    refusal_of_settings,
    remaining_s,
)
from doorward_console.maintenance.models import Desired, Intent, Order, Session
from doorward_console.maintenance.orders import is_wanted
from doorward_console.maintenance.sealing import (
    desire,
    engineers_key_of,
    open_body,
    order_if_connected,
    seal_order,
    sign_grant,
)
from doorward_console.people.membership import role_of
from doorward_console.people.models import Project

_OPENING = (Session.State.REQUESTED, Session.State.OPENING, Session.State.OPEN)


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys and the ceilings with which rows are decided, and the public keys of licences' issuers."""

    keys: SignerKeys
    ceilings: Ceilings
    issuers: tuple[str, ...] = ()


@transaction.atomic
def decide(signer: Signer, intent_id: int) -> None:
    """Decide one intent, if it is still undecided; an ON waits while the device's last session is closing."""
    found = Intent.objects.filter(id=intent_id, state=Intent.State.ASKED).first()
    if found is None:
        return
    device = Device.objects.select_for_update(no_key=True).get(id=found.device_id)
    intent = (
        Intent.objects.select_for_update(no_key=True, of=("self",)).select_related("project", "by").get(id=intent_id)
    )
    if intent.state != Intent.State.ASKED:
        return  # voided, or decided by another signer, while we waited for the device
    if intent.project_id != device.project_id:  # role, policy and history would be another project's
        _refuse(intent, "signer.not-entitled", device.project)
        return
    acts: dict[str, Callable[[Signer, Intent, Device], None]] = {
        Intent.Kind.ON: _turn_on,
        Intent.Kind.OFF: _turn_off,
        Intent.Kind.EXTEND: _extend,
        Intent.Kind.SETTINGS: _set,
    }
    acts[intent.kind](signer, intent, device)


def _turn_on(signer: Signer, intent: Intent, device: Device) -> None:
    now = timezone.now()
    live: Session | None = Session.objects.filter(device=device, state__in=Session.LIVE).first()
    if live is not None and live.state != Session.State.CLOSING:
        _close_intent(intent, live)
        return
    relay: Relay | None = (
        Relay.objects.select_for_update(no_key=True).filter(id=device.relay_id, removed_at__isnull=True).first()
    )
    choice = forwards.chosen(device, (intent.values or {}).get("forwards"))
    facts = _on_facts(intent, device, relay, choice)
    facts = replace(facts, licence=licence_facts(device, intent.project, signer.issuers))
    code = refusal_of_on(facts, signer.ceilings, now)
    if code is not None or relay is None:
        _refuse(intent, code or "signer.no-relay")
        return
    if live is not None:
        return  # still closing: decided when it has closed, or refused when it has waited too long
    _open(signer, intent, _new_session(intent, device, relay, choice, now), device, relay, now)


def _on_facts(intent: Intent, device: Device, relay: Relay | None, choice: forwards.Choice) -> OnFacts:
    live = Session.objects.filter(state__in=Session.LIVE)
    has_relay = relay is not None and device.relay_port is not None
    ports = choice.ports | ({device.relay_port} if device.relay_port is not None else set())
    return OnFacts(
        role=role_of(intent.by, intent.project) if intent.by else None,
        asked_at=intent.at,
        duration_s=intent.duration_s or 0,
        is_blocked=device.state == Device.State.BLOCKED,
        has_joined=device.state == Device.State.JOINED and is_certifiable(device.tunnel_key),
        has_relay=has_relay and relay is not None and relay.project_id == device.project_id,
        relay_is_paired=relay is not None and (relay.paired_at is not None or relay.kind == Relay.Kind.PLAIN),
        port_is_taken=has_relay and relay is not None and forwards.are_taken(relay, ports, device),
        forwards_fault=choice.code,
        has_engineer_pair=engineers_key_of(device.project_id) is not None,
        live_sessions=live.exclude(device=device).count(),
    )


def _new_session(intent: Intent, device: Device, relay: Relay, choice: forwards.Choice, now: datetime) -> Session:
    duration_s = intent.duration_s or 0
    named = (intent.values or {}).get("session")
    is_free = isinstance(named, str) and is_id("s", named) and not Session.objects.filter(id=named).exists()
    made: Session = Session.objects.create(
        id=named if is_free else new_session_id(),
        project=intent.project,
        device=device,
        relay=relay,
        relay_port=device.relay_port,
        bind=device.bind,
        login_user=intent.project.login_user,
        forwards=list(choice.forwards),
        state=Session.State.OPENING,
        asked_by=intent.by,
        asked_by_name=intent.by_name,
        reason=intent.reason,
        requested_at=min(intent.at, now),
        duration_s=duration_s,
        ends_at=now + timedelta(seconds=duration_s),
        banner=base64.b32encode(os.urandom(10)).decode().lower(),
    )
    return made


def _open(signer: Signer, intent: Intent, session: Session, device: Device, relay: Relay, now: datetime) -> None:
    """Write what device and relay are to do for ``session`` until its end: for a new one and for an extension."""
    body = open_body(signer.keys, session, device, relay, now)
    desired = desire(intent.project, device, "door", body, session)
    if relay.kind != Relay.Kind.PLAIN:
        sign_grant(signer.keys, session, relay, now)
    order = order_if_connected(signer.keys, device, desired, now)
    _close_intent(intent, session)
    data = {"revision": desired.revision, "epoch": desired.epoch, "digest": desired.digest, "order": order}
    keys = [
        openssh_fingerprint(line) for line in body.login.authorized_keys
    ]  # whoever can log in stands in the history
    named = [{"name": one.name, "target": one.target, "bind": one.bind, "port": one.port} for one in body.forwards[1:]]
    said = data | {"keys": keys} | ({"forwards": named} if named else {})
    note(intent.project, "session.ordered", session=session.id, device=device.id, data=said)


def _turn_off(signer: Signer, intent: Intent, device: Device) -> None:
    """Tell the device to be shut, whatever it was told before; web has set the session to closing already."""
    held: Desired | None = Desired.objects.filter(device=device, part="door", session__isnull=False).first()
    if held is not None:
        _shut(signer, intent.project, device, held)
    _close_intent(intent, intent.session)


def _shut(signer: Signer, project: Project, device: Device, held: Desired) -> None:
    session: str | None = held.session_id
    body = ShutDoor(SessionId(session) if session else None)
    desired = desire(project, device, "door", body, None)
    order = order_if_connected(signer.keys, device, desired, timezone.now())
    data = {"revision": desired.revision, "epoch": desired.epoch, "digest": desired.digest, "order": order}
    note(project, "session.ordered", session=session, device=device.id, data=data | {"state": "shut"})
    ring("worker", "web")


@transaction.atomic
def shut_what_has_ended(signer: Signer, desired_id: int) -> None:
    """Tell a device to be shut whose session is closing, closed or failed; nobody has to ask for it."""
    found = Desired.objects.filter(id=desired_id).first()
    if found is None:
        return
    device = (
        Device.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(id=found.device_id)
    )
    held: Desired | None = Desired.objects.select_related("session").filter(id=desired_id).first()
    if held is not None and held.session is not None and held.session.state not in _OPENING:
        _shut(signer, device.project, device, held)


def undecided(*kinds: str) -> list[int]:
    """List the intents of these kinds that nobody has decided about, oldest first."""
    waiting = Intent.objects.filter(state=Intent.State.ASKED, kind__in=kinds)
    return list(waiting.order_by("id").values_list("id", flat=True))


def asked_orders() -> list[str]:
    """List the orders that the worker asked for, oldest first."""
    waiting = Order.objects.filter(state=Order.State.ASKED)
    return list(waiting.order_by("asked_at").values_list("id", flat=True))


def ended_but_wanted() -> list[int]:
    """List the desired parts that still open a session which is closing, closed or failed."""
    wanted = Desired.objects.filter(part="door", session__isnull=False).exclude(session__state__in=_OPENING)
    return list(wanted.values_list("id", flat=True))


def _extend(signer: Signer, intent: Intent, device: Device) -> None:
    now = timezone.now()
    session: Session | None = intent.session
    if session is None or session.device_id != device.id:
        _refuse(intent, "ask.not-open")
        return
    facts = ExtendFacts(
        role=role_of(intent.by, intent.project) if intent.by else None,
        asked_at=intent.at,
        duration_s=intent.duration_s or 0,
        is_blocked=device.state == Device.State.BLOCKED,
        is_live=session.state in _OPENING,
        has_relay=session.relay.removed_at is None,
        requested_at=session.requested_at,
        ends_at=session.ends_at,
        licence=licence_facts(device, intent.project, signer.issuers),
    )
    code = refusal_of_extension(facts, signer.ceilings, now)
    if code is not None:
        _refuse(intent, code)
        return
    relay = Relay.objects.select_for_update(no_key=True).get(id=session.relay_id)
    session.ends_at = extended_end(facts, now)
    session.duration_s = remaining_s(session.ends_at, session.requested_at)
    session.save(update_fields=["ends_at", "duration_s"])
    _open(signer, intent, session, device, relay, now)


def _set(signer: Signer, intent: Intent, device: Device) -> None:
    role = role_of(intent.by, intent.project) if intent.by else None
    code = refusal_of_settings(role, is_blocked=device.state == Device.State.BLOCKED)
    if code is not None:
        _refuse(intent, code)
        return
    desired = desire(intent.project, device, "settings", ApplySettings(intent.values or {}), None)
    order_if_connected(signer.keys, device, desired, timezone.now())
    _close_intent(intent, None)


@transaction.atomic
def sign_again(signer: Signer, order_id: str) -> None:
    """Sign an order that the worker asked for: the desired part as it is, for the nonces that the device has now.

    An order to open is signed only while its session is live; a blocked device is told nothing but to shut.
    """
    order: Order | None = (
        Order.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(id=order_id, state=Order.State.ASKED)
        .first()
    )
    if order is None:
        return
    device = Device.objects.get(id=order.device_id)
    found = Desired.objects.select_related("session", "command").filter(device=device, part=order.part)
    desired: Desired | None = found.first()
    if desired is None or not _may_be_told(device, desired):
        order.state = Order.State.DROPPED
    else:
        seal_order(signer.keys, order, device, desired, timezone.now())
    order.save()
    ring("worker")


def _may_be_told(device: Device, desired: Desired) -> bool:
    if desired.session is not None and desired.session.state not in _OPENING:
        return False
    if desired.part == "command" and not is_wanted(desired.command, timezone.now()):
        return False
    is_shut = desired.part == "door" and desired.session is None
    return is_shut or device.state != Device.State.BLOCKED


def _close_intent(intent: Intent, session: Session | None) -> None:
    intent.state, intent.session = Intent.State.DONE, session
    intent.save(update_fields=["state", "session"])
    ring("worker", "web")


def _refuse(intent: Intent, code: str, told: Project | None = None) -> None:
    intent.state, intent.code = Intent.State.REFUSED, code
    intent.save(update_fields=["state", "code"])
    named: Any = intent.session_id or (intent.values or {}).get("session")
    data = {"code": code, "kind": intent.kind, "by": intent.by_name}
    note(told or intent.project, "session.refused", session=named, device=intent.device_id, data=data)
    ring("web")
