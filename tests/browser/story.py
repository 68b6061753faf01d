"""A day at the waterworks, written into the database as the console would have written it, each thing at its own time.

What a page says of a door, its steps and its history agree to the second, and the history is signed: the pictures are of a
console as it really looks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, Forward, Relay
from doorward_console.history.models import Pending
from doorward_console.history.own import chain_pending
from doorward_console.history.writing import note
from doorward_console.keys.models import EngineerPair
from doorward_console.keys.opening import WorkerKeys
from doorward_console.maintenance import asking
from doorward_console.maintenance.models import Command, Intent, Session
from doorward_console.people.models import Member

from tests.browser import scenes
from tests.console.conftest import House
from tests.console.rig import keep_keys

HERE = "203.0.113.7"
OPENS = (
    ("relay-granted", 60, None), ("ordered", 90, None), ("device-accepted", 160, None), ("door-opened", 390, None),
    ("tunnel-up", 420, None), ("answered", 470, None),
)  # fmt: skip
"""The steps of an opening, each with its milliseconds after the asking and its reason code."""
Steps = Sequence[tuple[str, int, str | None]]


def tell(house: House) -> dict[str, Device]:
    """Write the day; gives the devices by their names."""
    now = timezone.now()
    keep_keys(house)
    house.owner.name, house.owner.email = "Aiko Tanaka", "aiko@example.com"
    house.owner.save()
    scenes.person(house, "Benjamin", "admin")
    scenes.person(house, "Carla", "engineer")
    devices = scenes.fleet(house)
    house.device.delete()
    by = {"by": house.owner.email, "from": HERE}
    long_ago = now - timedelta(days=41, hours=3)
    with at(long_ago):
        note(house.project, "keys.made", data=by)
    pump = devices["Pump station 4, Nagoya"]
    with at(long_ago + timedelta(minutes=7)):
        note(house.project, "device.changed", device=pump.id, data=by | {"relay": "Relay Tokyo", "port": 22004, "bind": "*"})  # fmt: skip
    Member.objects.update(since=long_ago - timedelta(minutes=20))
    EngineerPair.objects.update(made_by=house.owner, made_at=long_ago)
    Relay.objects.update(paired_at=long_ago - timedelta(minutes=4))
    _sessions(house, devices, now)
    return devices


def seal() -> None:
    """Sign the history so far, each line at its time's place: the worker's part."""
    rows = list(Pending.objects.order_by("at", "pk"))
    Pending.objects.all().delete()
    for row in rows:
        row.pk = None
    Pending.objects.bulk_create(rows)
    chain_pending(WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key)))


def _sessions(house: House, devices: dict[str, Device], now: datetime) -> None:
    press = devices["Press line 2, controller"]
    was_open = opening(house, press, now - timedelta(hours=15), 7200, "ticket 4702", OPENS)
    shut_at = was_open.requested_at + timedelta(minutes=52)
    with at(shut_at):
        asking.turn_off(press, house.owner, HERE)
    scenes.close(was_open)
    times = {"closing_at": shut_at, "closed_at": shut_at + timedelta(milliseconds=140)}
    Session.objects.filter(pk=was_open.pk).update(**times)
    pump = devices["Pump station 4, Nagoya"]
    _forwards(pump)
    opened = opening(house, pump, now - timedelta(minutes=48), 7200, "ticket 4711, pressure sensor", OPENS)
    _told(opened, now)
    dosing = devices["Chlorine dosing 1"]
    failing = opening(house, dosing, now - timedelta(minutes=6), 3600, "calibration", (*OPENS[:3], ("door-opened", 240, "door.user-locked")))  # fmt: skip
    scenes.fail(failing, "door.user-locked")
    Session.objects.filter(pk=failing.pk).update(closed_at=failing.requested_at + timedelta(milliseconds=300))
    gate = devices["Gate Kiso river"]
    opening(house, gate, now - timedelta(seconds=21), 3600, "", (*OPENS[:4], ("tunnel-up", 9_400, "tunnel.unreachable")))  # fmt: skip


def _forwards(pump: Device) -> None:
    """Let a device offer three targets, of which two have ports."""
    pump.offered = {
        "historian": "tcp:db.nagoya.example:5432",
        "plc": "tcp:10.20.0.7:502",
        "switch": "tcp:10.20.0.2:443",
    }
    pump.verbs = ["rehearse", "test-forward", "message", "health"]
    pump.save()
    for name, port, bind in (("historian", 22104, "localhost"), ("plc", 22204, "*")):
        Forward.objects.create(
            device=pump, relay=pump.relay, name=name, target=pump.offered[name], port=port, bind=bind
        )


def _told(opened: Session, now: datetime) -> None:
    """Let the device have said how they fare, and one have been tested since."""
    Device.objects.filter(pk=opened.device_id).update(door_state="OPEN", door_session=opened.pk)
    at_ms = int(opened.requested_at.timestamp() * 1000) + 500
    fares = {"historian": ("open", None, "10.20.0.5"), "plc": ("failed", "forward.unreachable", "10.20.0.7")}
    opened.forwards = [
        {"name": one.name, "target": one.target, "bind": one.bind, "port": one.port, "at": at_ms}
        | dict(zip(("state", "code", "address"), fares[one.name], strict=True))
        for one in opened.device.forwards.order_by("name")
    ]
    opened.save()
    steps = [
        {"step": step, "ms": ms, "code": None}
        for step, ms in (("allow", 0), ("resolve", 4), ("connect", 3), ("banner", 12))
    ]
    result = {"name": "switch", "target": "tcp:10.20.0.2:443", "address": "10.20.0.2", "steps": steps, "banner": ""}
    when = now - timedelta(minutes=12)
    Command.objects.create(
        project=opened.project, device=opened.device, verb="test-forward", arguments={"name": "switch"}, by_name="aiko@example.com",
        at=when, expires_at=when + timedelta(days=1), state="done", begun_at=when, ended_at=when, result=result, lasted_ms=22,
    )  # fmt: skip


def opening(house: House, device: Device, when: datetime, duration_s: int, reason: str, steps: Steps) -> Session:
    """Let the owner turn a door on at ``when``, and let happen what ``steps`` say."""
    with at(when):
        asking.turn_on(device, house.owner, HERE, duration_s, reason)
    session = scenes.begin(device)
    session.requested_at, session.ends_at = when, when + timedelta(seconds=duration_s)
    start_ms = int(when.timestamp() * 1000)
    session.steps = [{"step": name, "at": start_ms + after, "code": code} for name, after, code in steps]
    last, after, code = steps[-1]
    is_open = last == "answered" and code is None
    session.state, session.code = ("open", "") if is_open else ("opening", code or "")
    session.opened_at = when + timedelta(milliseconds=after) if is_open else None
    session.save()
    return session


@contextmanager
def at(when: datetime) -> Iterator[None]:
    """Let what is written down meanwhile have happened at ``when``."""
    noted, asked = (
        kind.objects.order_by("-pk").values_list("pk", flat=True).first() or 0 for kind in (Pending, Intent)
    )
    yield
    Pending.objects.filter(pk__gt=noted).update(at=when)
    Intent.objects.filter(pk__gt=asked).update(at=when)
