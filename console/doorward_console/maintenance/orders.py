"""Orders on their way: asked for when a device is other than it should be, published when they are signed.

A door's order to open waits until the relays have the session's grants; an order to shut waits for nothing. Each step is a
transaction of its own, so a worker that is started again goes on where the last one was.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, TypeGuard

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from doorward_protocol.envelope import decode
from doorward_protocol.orders import order_from_payload
from doorward_protocol.revisions import NEVER, Revision

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.maintenance import facts, sessions, trials
from doorward_console.maintenance.commands.deciding import can
from doorward_console.maintenance.models import Command, Desired, Grant, Order, Session
from doorward_console.maintenance.telling import AT_WORK, RESEND_AFTER_MS, Reported, Told, Wanted, is_due
from doorward_console.times import ms_from_time, ms_from_time_or_none

Publish = Callable[[str, bytes], bool]
"""Hands an order for a device to the broker; False when there is no connection."""
_UNSENT: Final = (Order.State.ASKED, Order.State.SIGNED)


def ask_where_due(now: datetime) -> int:
    """Ask for orders for all connected devices that have not heard theirs; gives how many were asked for."""
    waiting = Desired.objects.filter(device__state=Device.State.JOINED, device__presence="connected")
    recent = now - timedelta(hours=1)
    waiting = waiting.filter(device__seen_at__gte=recent).filter(_may_differ(now))
    devices = waiting.values_list("device_id", flat=True).distinct()
    return sum(ask_if_due(device, now) for device in devices)


def ask_where_due_of(devices: Iterable[str], now: datetime) -> int:
    """Ask for orders for those of ``devices`` that were just heard and have to be told; gives how many were asked for.

    Looked at one by one are those alone that may differ, or whose order under way may have become stale.
    """
    heard = list(devices)
    differ = Desired.objects.filter(device__in=heard).filter(_may_differ(now)).values_list("device_id", flat=True)
    unsent = Order.objects.filter(device__in=heard, state__in=_UNSENT).values_list("device_id", flat=True)
    return sum(ask_if_due(device, now) for device in sorted({*differ, *unsent}))


def _may_differ(now: datetime) -> Q:
    """Look in the database for what ``telling.differs`` then judges: a fleet at rest costs one query."""
    at_door = Q(device__door_needs_order=True) | Q(session__isnull=False, device__door_state="SHUT")
    at_door |= Q(session__isnull=True, device__door_state__in=AT_WORK) | Q(session__lost_at__lt=now - SILENT_FOR)
    settings = (
        Q(part="settings") & (_holds_another("settings") | Q(device__settings_lacks="settings")) & ~_PUT_BACK_BEFORE
    )
    settings |= Q(part="confirm", device__settings_state=trials.TRYING)
    return (Q(part="door") & (_holds_another("door") | at_door)) | settings | _command_may_differ(now)


_PUT_BACK_BEFORE: Final = Q(
    revision=1,
    epoch__gt=F("device__settings_epoch"),
    digest=F("device__settings_digest"),
    device__settings_state="reverted",
)
"""Settings of before a restore, which gives them the first revision of a new epoch: a device that put those very ones back does not
try them again for that. Asked anew they have a later revision."""


def _command_may_differ(now: datetime) -> Q:
    """Look for commands that their devices have not taken, but for those that were told just now: of a thousand, all."""
    wanted = Q(part="command", command__state__in=Command.TOLD, command__expires_at__gt=now)
    told = Order.objects.filter(
        device=OuterRef("device"), part="command", epoch=OuterRef("epoch"), revision=OuterRef("revision"),
        nonce=OuterRef("device__nonce"),
    )  # fmt: skip
    just_now = now - timedelta(milliseconds=RESEND_AFTER_MS)
    is_under_way = Exists(told.filter(Q(state__in=_UNSENT) | Q(sent_at__gt=just_now)))
    return wanted & (Q(device__command_needs_order=True) | (_holds_another("command") & ~Q(is_under_way)))


def _holds_another(part: str) -> Q:
    same = Q(
        epoch=F(f"device__{part}_epoch"), revision=F(f"device__{part}_revision"), digest=F(f"device__{part}_digest")
    )
    return Q(**{f"device__{part}_digest__isnull": True}) | ~same


@transaction.atomic
def ask_if_due(device_id: str, now: datetime) -> int:
    """Ask the signer for what this device has to be told; gives how many orders were asked for."""
    device = Device.objects.select_for_update(no_key=True).get(pk=device_id)
    if device.state != Device.State.JOINED or not device.nonce:
        return 0
    asked = 0
    parts = Desired.objects.filter(device=device).exclude(Q(part="settings") & _PUT_BACK_BEFORE)
    parts = parts.select_related("session", "command")
    for desired in sorted(parts, key=lambda one: one.part != "door"):
        is_to_be_told = not _is_over(desired, device, now) and is_due(
            _wanted(desired), _reported(device, desired, now), _told(device, desired), ms_from_time(now)
        )
        if is_to_be_told and not _has_to_wait(desired.part, device, now):
            Order.objects.create(
                device=device,
                part=desired.part,
                epoch=desired.epoch,
                revision=desired.revision,
                nonce=device.nonce,
                asked_at=now,
            )
            asked += 1
    if asked:
        ring("signer")
    return asked


_GIVES_WAY: Final = timedelta(seconds=3)


def _has_to_wait(part: str, device: Device, now: datetime) -> bool:
    """Tell whether another part's order is about to use up the runner's nonce that this one would be signed for.

    Two orders for one nonce make each other stale, again and again; the door's goes first, and the device asks once it has it.
    """
    if part == "door":
        return False
    others = Order.objects.filter(device=device).exclude(part=part)
    recent = others.filter(Q(state__in=_UNSENT) | Q(state=Order.State.SENT, sent_at__gt=now - _GIVES_WAY))
    return any(one.envelope is None or _runner_nonce(one) == device.runner_nonce for one in recent)


def _is_over(desired: Desired, device: Device, now: datetime) -> bool:
    """Tell whether a door must not be opened although that is still desired; the order to shut is being signed then.

    A command is over once it has ended, also where the console alone counts it as ended, and for a device that cannot do it.
    """
    if desired.part == "confirm":
        return not trials.is_of(desired, device)
    if desired.part == "command":
        return not is_wanted(desired.command, now) or not can(device.verbs, desired.command.verb)
    session = desired.session
    if session is None:
        return False
    return session.state not in _STILL_WANTED or session.ends_at <= now or _grant_state(session) == Grant.State.REFUSED


def is_wanted(command: Command | None, now: datetime) -> TypeGuard[Command]:
    """Tell whether a device may still be told this command."""
    return command is not None and command.state in Command.TOLD and command.expires_at > now


_STILL_WANTED = (Session.State.REQUESTED, Session.State.OPENING, Session.State.OPEN)


def _grant_state(session: Session) -> str | None:
    """Give the state of a session's newest grant; None where there is none (a plain relay)."""
    newest = Grant.objects.filter(session=session).order_by("-epoch", "-sequence")
    state: str | None = newest.values_list("state", flat=True).first()
    return state


def _wanted(desired: Desired) -> Wanted:
    door = str(json.loads(desired.body).get("state", "")) if desired.part == "door" else ""
    return Wanted(Revision(desired.epoch, desired.revision), desired.digest, door)


SILENT_FOR: Final = timedelta(seconds=15)
"""A device that lost its tunnel is back within this by itself, or has asked; after it, it is told again."""


def _reported(device: Device, desired: Desired, now: datetime) -> Reported:
    if desired.part == "door":
        held = Revision(device.door_epoch, device.door_revision)
        lost_at = desired.session.lost_at if desired.session else None
        is_silent = lost_at is not None and now - lost_at > SILENT_FOR
        return Reported(held, device.door_digest, device.door_state, device.door_needs_order or is_silent)
    if desired.part == "command":
        held = Revision(device.command_epoch, device.command_revision)
        return Reported(held, device.command_digest, needs_order=device.command_needs_order)
    if desired.part == "confirm":
        return Reported(NEVER, None)  # a trial that goes on has not been confirmed; else it is over
    held = Revision(device.settings_epoch, device.settings_revision)
    return Reported(held, device.settings_digest, needs_order=device.settings_lacks == "settings")


def _told(device: Device, desired: Desired) -> Told:
    """Count this revision's orders under the device's present nonces; what was never sent is dropped when it is stale."""
    made = Order.objects.filter(device=device, part=desired.part).order_by("asked_at")
    unsent = made.filter(state__in=_UNSENT)
    unsent.exclude(nonce=device.nonce, epoch=desired.epoch, revision=desired.revision).update(state=Order.State.DROPPED)
    sent = [
        order
        for order in made.filter(
            state=Order.State.SENT, nonce=device.nonce, epoch=desired.epoch, revision=desired.revision
        )
        if _runner_nonce(order) == device.runner_nonce
    ]
    last = ms_from_time_or_none(sent[-1].sent_at) if sent else None
    return Told(len(sent), unsent.exists(), last)


def _runner_nonce(order: Order) -> str | None:
    """Read the runner's nonce that an order answers: a used one is no use to an order that comes after."""
    return order_from_payload(decode(bytes(order.envelope or b""), expected="order").payload).runner_nonce


def send_signed(publish: Publish, now: datetime, session: str | None = None) -> int:
    """Publish what is signed and may go, for the device of one session or for all; gives how many went."""
    waiting = Order.objects.filter(state=Order.State.SIGNED).exclude(part="command").order_by("signed_at")
    if session is not None:
        waiting = waiting.filter(device__sessions=session)
    return sum(_send(order, publish, now) for order in list(waiting.values_list("pk", flat=True)))


@transaction.atomic
def _send(order_id: str, publish: Publish, now: datetime) -> bool:
    order = (
        Order.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("device")
        .filter(pk=order_id, state=Order.State.SIGNED)
        .first()
    )
    if order is None or order.envelope is None:
        return False
    desired = Desired.objects.filter(device=order.device, part=order.part).select_related("session").first()
    is_stale = desired is None or (desired.epoch, desired.revision) != (order.epoch, order.revision)
    if desired is None or is_stale or _is_over(desired, order.device, now):
        _drop(order)
        return False
    if not _may_go(desired) or not publish(order.device_id, bytes(order.envelope)):
        return False
    order.state, order.sent_at = Order.State.SENT, now
    order.save(update_fields=["state", "sent_at"])
    if desired.session_id is not None:
        sessions.apply(desired.session_id, facts.Stepped(facts.ORDERED, ms_from_time(now)))
    return True


def _drop(order: Order) -> None:
    order.state = Order.State.DROPPED
    order.save(update_fields=["state"])


def _may_go(desired: Desired) -> bool:
    """Hold an order to open until the relay has the newest grant of its session."""
    return desired.session is None or _grant_state(desired.session) != Grant.State.SIGNED
