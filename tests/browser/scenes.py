"""What signer and worker do to the database, in the order in which they do it; the pages are told by the doorbell."""

import json
import subprocess
from datetime import timedelta
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import transaction
from django.utils import timezone
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Relay, SettingsRead
from doorward_console.keys.models import EngineerPair, Key
from doorward_console.maintenance.models import Desired, Intent, Session
from doorward_console.people.models import Member, User

from tests.console.conftest import ED25519_LINE, House
from tests.runner.programs import ROOT

PASSWORD = "a long password 1"


def give_password(user: User) -> None:
    """Set a password as the web process stores it; the tests' own process uses a quicker way."""
    user.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1000)
    user.save()


def person(house: House, name: str, role: str) -> User:
    """Add a member."""
    user: User = User.objects.create_user(f"{name.lower()}@example.com", name=name)
    give_password(user)
    Member.objects.create(project=house.project, user=user, role=role)
    return user


def give_ca_keys(house: House) -> None:
    """Make the public parts of the CAs, as the signer does for a new project."""
    for kind in (Key.Kind.TUNNEL_CA, Key.Kind.HOST_CA):
        Key.objects.create(project=house.project, kind=kind, holder="signer", public=ED25519_LINE, wrapped=b"x")


def take_pair_away(house: House) -> None:
    """Leave the project without an engineer pair, as it is at first."""
    EngineerPair.objects.filter(project=house.project).delete()


def give_settings(house: House, device: Device) -> None:
    """Let the device say how it is set and what may be set, as the hook for a Debian-like system does; a trial was put back."""
    says = subprocess.run(["/bin/sh", ROOT / "firmware-hooks" / "settings-read"], capture_output=True, check=True)
    values = {
        "hostname": "pump-7",
        "network": {"interface": "eth0", "method": "static", "address": "192.168.1.20/24", "dns": ["192.168.1.1"]},
    }
    now = timezone.now()
    SettingsRead.objects.create(device=device, values=values, schema=json.loads(says.stdout)["schema"], read_at=now)
    wanted = {"values": {**values, "hostname": "pump-8"}}
    Desired.objects.create(
        device=device, part="settings", epoch=0, revision=4, body=json.dumps(wanted), digest="sha256:4", at=now
    )
    Intent.objects.create(
        project=house.project, device=device, kind="settings", state="done", by=house.owner,
        by_name=house.owner.email, values=wanted["values"], at=now,
    )  # fmt: skip
    Device.objects.filter(pk=device.pk).update(
        settings_digest="sha256:4", settings_state="reverted", settings_code="settings.unconfirmed",
        verbs=["settings-read", "settings-apply", "settings-revert"], state="joined", seen_at=now, presence="connected",
    )  # fmt: skip


@transaction.atomic
def begin(device: Device) -> Session:
    """Decide about the ON that waits: the signer's part."""
    intent = Intent.objects.get(device=device, kind="on", state="asked")
    session: Session = Session.objects.create(
        id=(intent.values or {})["session"], project=device.project, device=device, relay=device.relay,
        relay_port=device.relay_port or 0, bind=device.bind, login_user=device.project.login_user, state="requested",
        asked_by=intent.by, asked_by_name=intent.by_name, reason=intent.reason, requested_at=intent.at,
        duration_s=intent.duration_s or 0, ends_at=intent.at + timedelta(seconds=intent.duration_s or 0), banner="b" * 16,
    )  # fmt: skip
    intent.state, intent.session = "done", session
    intent.save()
    ring("web")
    return session


@transaction.atomic
def step(session: Session, name: str, code: str | None = None) -> None:
    """Learn of a step: the worker's part."""
    session.refresh_from_db()
    now = timezone.now()
    session.steps = [*session.steps, {"step": name, "at": int(now.timestamp() * 1000), "code": code}]
    if name == "answered" and code is None:
        session.state, session.opened_at, session.code = "open", now, ""
    else:
        session.state, session.code = "opening", code or ""
    session.save()
    ring("web")


@transaction.atomic
def fail(session: Session, code: str) -> None:
    """Give the opening up."""
    session.refresh_from_db()
    session.state, session.code, session.closed_at = "failed", code, timezone.now()
    session.save()
    ring("web")


@transaction.atomic
def close(session: Session) -> None:
    """Hear from the relay that nothing listens."""
    session.refresh_from_db()
    session.state, session.closed_at, session.relay_shut_at = "closed", timezone.now(), timezone.now()
    session.save()
    Intent.objects.filter(device=session.device, state="asked").update(state="done")
    ring("web")


def fleet(house: House) -> dict[str, Device]:
    """Write a fleet worth looking at: every state of a door, every presence."""
    now = timezone.now()
    other = Relay.objects.create(
        project=house.project, name="Relay Osaka", host="osaka.relay.example.com", ssh_port=2222, paired_at=now,
        seen_at=now - timedelta(hours=3), version="0.1.0", code="relay.unreachable", low_port=20000, high_port=29999,
    )  # fmt: skip
    house.relay.name, house.relay.host, house.relay.version = "Relay Tokyo", "tokyo.relay.example.com", "0.1.0"
    house.relay.low_port, house.relay.high_port, house.relay.seen_at = 22000, 22999, now
    house.relay.clock_skew_ms = 120
    house.relay.save()
    devices = {}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("Pump station 4, Nagoya", {"relay_port": 22004, "presence": "connected"}),
        ("Press line 2, controller", {"relay_port": 22002, "presence": "connected"}),
        ("Gate Kiso river", {"relay_port": 22007, "presence": "connected"}),
        ("Reservoir Atsuta, level meter", {"relay_port": 22009, "presence": "away"}),
        ("Chlorine dosing 1", {"relay": other, "relay_port": 20001, "presence": "connected"}),
        ("Spare panel", {"state": "added", "relay": None, "relay_port": None}),
        ("Stolen tablet", {"state": "blocked", "relay": None, "relay_port": None}),
    ]
    for number, (name, given) in enumerate(rows):
        seen = {} if given.get("state") == "added" else {"seen_at": now - timedelta(minutes=3 * number, seconds=20)}
        facts = {
            "hostname": f"unit-{number + 1:02}",
            "os": "Debian GNU/Linux 12",
            "arch": "aarch64",
            "firmware": "4.2.1",
        }
        standard: dict[str, Any] = {
            "state": "joined", "relay": house.relay, "joined_at": now - timedelta(days=41), "agent_version": "0.1.0",
            "presence_at": now - timedelta(hours=5 + number), "facts": facts, "clock_skew_ms": 1400 * number,
        }  # fmt: skip
        if given.get("state") == "added":
            standard |= {
                "joined_at": None,
                "agent_version": "",
                "facts": {},
                "clock_skew_ms": None,
                "presence_at": None,
            }
        devices[name] = Device.objects.create(project=house.project, name=name, **(standard | seen | given))
    return devices
