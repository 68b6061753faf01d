"""The named forwards of a session: which go with it, what the device says of each, and how they are shown.

Green is the door's alone: an engineer can log in. A forward has its own state beside it, which rests on the device's signed word: it has
reached the target, and the relay has given the port. Behind a door that does not answer nothing is open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from django.db import transaction
from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import Reason, reason_of
from doorward_protocol.records import Record
from doorward_protocol.targets import is_forward_name, target_from_text

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Forward, Relay
from doorward_console.maintenance.models import Session
from doorward_console.times import ms_from_time, time_from_ms_or_none

State = Literal["shut", "opening", "open", "failed"]

_FAILED: Final = "failed"
_OPEN: Final = "open"
_ANEW: Final = frozenset({"door.opened", "door.lost"})
"""With a tunnel that is new or gone nothing is known of what was behind the one before."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What goes with an opening.

    Attributes:
        code: why none can be chosen, or None.
    """

    forwards: tuple[Mapping[str, Any], ...] = ()
    code: str | None = None

    @property
    def ports(self) -> frozenset[int]:
        return frozenset(one["port"] for one in self.forwards)


def chosen(device: Device, names: Any) -> Choice:
    """Choose a device's forwards by ``names``, a list or tuple of texts; the usual ones where it is None.

    An agent that knows none is sent none; what the device's configuration allows the device says when it is told.
    """
    rows = list(device.forwards.filter(relay=device.relay_id).order_by("name"))
    if names is None:
        rows = [one for one in rows if one.is_usual and device.offered is not None]
    else:
        known = {one.name for one in rows}
        if not isinstance(names, list | tuple) or not all(isinstance(one, str) and one in known for one in names):
            return Choice(code="forward.unknown")
        rows = [one for one in rows if one.name in names]
        if rows and device.offered is None:
            return Choice(code="forward.agent-too-old")
    return Choice(tuple(_ordered(one) for one in rows if _is_sound(one)))


def _is_sound(one: Forward) -> bool:
    """Tell whether a row is what it should be: web wrote it."""
    try:
        target_from_text(one.target)
    except Malformed:
        return False
    return is_forward_name(one.name) and one.bind in Device.Bind.values


def _ordered(one: Forward) -> dict[str, Any]:
    ordered = {"name": one.name, "target": one.target, "bind": one.bind, "port": one.port}
    return {**ordered, "state": "", "code": None, "address": None, "at": None}


def ports_of(session: Session) -> frozenset[int]:
    """Give all ports that a session has on its relay."""
    return frozenset({session.relay_port, *(one["port"] for one in session.forwards)})


def are_taken(relay: Relay, ports: frozenset[int], device: Device) -> bool:
    """Tell whether another device's live session has any of ``ports`` on a relay."""
    live = Session.objects.filter(relay=relay, state__in=Session.LIVE).exclude(device=device)
    return any(ports & ports_of(one) for one in live.only("relay_port", "forwards"))


def hear_records(author: str, records: Sequence[Record], now: datetime) -> int:
    """Apply what a device's joined records say of its forwards; gives how many changed something."""
    kind, _, device = author.partition(":")
    return 0 if kind != "device" else sum(_hear(device, record, now) for record in records)


def _hear(device: str, record: Record, now: datetime) -> bool:
    verb, data = record.fact.verb, record.fact.data
    if record.fact.session is None or not (verb in _ANEW or verb.startswith("forward.")):
        return False
    with transaction.atomic():
        held = Session.objects.select_for_update(no_key=True, of=("self",))
        session: Session | None = held.filter(pk=record.fact.session, device=device).first()
        if session is None or not session.forwards:
            return False
        before = session.forwards
        if verb in _ANEW:
            session.forwards = [{**one, "state": "", "code": None, "address": None} for one in before]
        else:
            session.forwards = [_told(one, data, now) if one["name"] == data.get("name") else one for one in before]
        if session.forwards == before:
            return False
        session.save(update_fields=["forwards"])
        ring("web")
        return True


def _told(one: Mapping[str, Any], data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    code = data.get("relay_code") or data.get("code")
    address = data.get("address")
    return {
        **one,
        "state": _FAILED if code else _OPEN,
        "code": str(code)[:60] if code else None,
        "address": str(address)[:60] if address else None,
        "at": ms_from_time(now),
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """A forward for people.

    Attributes:
        offered: the target that the device's configuration has under this name now; None where it has none.
        port: None where it has been given none.
        address: what the target's name led to.
        at: when the device last said something of it.
        place: the relay's host, and the port there, while it is open.
    """

    name: str
    target: str
    offered: str | None
    port: int | None
    bind: str
    is_usual: bool
    state: State
    reason: Reason | None = None
    address: str | None = None
    at: datetime | None = None
    place: str = ""

    @property
    def line(self) -> str:
        """Give what an engineer connects to, or, on the relay's loopback, what brings it to their own computer; empty while shut."""
        host, _, port = self.place.rpartition(":")
        return (
            self.place if self.bind == Device.Bind.PUBLIC or not host else f"ssh -N -L {port}:localhost:{port} {host}"
        )

    @property
    def is_changed(self) -> bool:
        """Whether the device leads the name elsewhere now, or nowhere."""
        return self.port is not None and self.offered != self.target


def shown_of(device: Device, session: Session | None, word: str) -> tuple[Shown, ...]:
    """Say a device's forwards: those that it offers, those that have a port, those of a session that is live."""
    live = [] if session is None or word not in {"opening", "open", "closing"} else session.forwards
    rows = {one.name: one for one in device.forwards.all()}
    offered: Mapping[str, str] = device.offered or {}
    in_session = {one["name"]: one for one in live}
    names = sorted({*rows, *offered, *in_session})
    return tuple(
        _shown(name, rows.get(name), offered.get(name), (session, in_session.get(name)), word) for name in names
    )


def _shown(
    name: str,
    row: Forward | None,
    offered: str | None,
    live: tuple[Session | None, Mapping[str, Any] | None],
    word: str,
) -> Shown:
    session, said = live
    target = row.target if row else str(said["target"]) if said else offered or ""
    bind = row.bind if row else Device.Bind.LOOPBACK
    usual = row.is_usual if row else False
    port = row.port if row else None
    if session is None or said is None:
        return Shown(name, target, offered, port, bind, usual, "shut")
    state = _state(str(said["state"]), word)
    is_plain = session.relay.kind == Relay.Kind.PLAIN
    reason = reason_of(said["code"], at_plain_relay=is_plain) if said["code"] and state == _FAILED else None
    place = f"{session.relay.host}:{said['port']}" if state == _OPEN else ""
    at = time_from_ms_or_none(said["at"])
    return Shown(name, target, offered, port, str(said["bind"]), usual, state, reason, said["address"], at, place)


def _state(said: str, word: str) -> State:
    """Say a forward's state from the device's word and the door's truth."""
    if word == "closing":
        return "shut"
    if word == _OPEN and said == _OPEN:
        return "open"
    return "failed" if said == _FAILED else "opening"
