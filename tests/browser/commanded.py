"""What was asked of the waterworks' devices besides their doors: idle, waiting, at work, done, failed, and of several at once."""

from dataclasses import replace
from datetime import timedelta

from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.maintenance.commands.asking import Wish, ask_command, ask_commands, devices_named
from doorward_console.maintenance.models import Batch, Command
from doorward_console.people.members import Who
from doorward_console.people.models import Member, Project
from doorward_protocol.commands import VERBS

from tests.browser import carrying
from tests.browser.story import HERE, at
from tests.console.conftest import ED25519_LINE, House
from tests.console.rig import keep_keys

HEALTH = Wish("health", reason="ticket 4702")
REHEARSED = {
    "relay": "r-tokyo", "way": "ssh", "opens_in_ms": 1180,
    "steps": [{"step": "resolve", "ms": 12, "code": None}, {"step": "refusal", "ms": 1168, "code": None}],
}  # fmt: skip
INFORMATION = {
    "model": "Siemens IOT2050", "serial_number": "SVPL7204119", "kernel": "6.1.0-28-arm64", "uptime_s": 3541200,
    "addresses": {"eth0": ["10.20.4.17/24"], "wwan0": ["100.72.9.4/30"]},
}  # fmt: skip


def give_hooks(devices: dict[str, Device]) -> None:
    """Let each device have said what it can do: one has no hook, one an agent that knows no commands."""
    for name, device in devices.items():
        if device.state == "joined":
            verbs = [] if name == "Reservoir Atsuta, level meter" else list(VERBS)
            Device.objects.filter(pk=device.pk).update(
                verbs=verbs, nonce="n" * 22, runner_nonce="r" * 22, tunnel_key=ED25519_LINE
            )
            device.refresh_from_db()


def tell(house: House, devices: dict[str, Device]) -> None:
    """Write what was asked of devices one by one."""
    give_hooks(devices)
    who = Who(house.owner, HERE)
    _press(devices["Press line 2, controller"], who)
    _dosing(devices["Chlorine dosing 1"], who)
    _gate(devices["Gate Kiso river"], who)


def _press(press: Device, who: Who) -> None:
    """All went well: told at night, and by people."""
    _ended(press, who, Wish("system-info"), timedelta(days=2), result=INFORMATION, lasted_ms=640)
    _ended(press, who, Wish("rehearse"), timedelta(hours=13), result=REHEARSED, lasted_ms=1420)
    _ended(press, who, Wish("message", {"text": "Restart at 14:30"}, "ticket 4702"), timedelta(minutes=40))
    _ended(press, who, Wish("reboot", reason="ticket 4702"), timedelta(minutes=25), lasted_ms=41_300)
    Device.objects.filter(pk=press.pk).update(
        settings_state="confirmed", settings_at=timezone.now() - timedelta(days=3)
    )


def _gate(gate: Device, who: Who) -> None:
    """One is at work, two wait for their turn, one was taken back."""
    first = _asked(gate, who, HEALTH, timedelta(seconds=40))
    carrying.sign()
    carrying.begin(first)
    carrying.back_date(first, timedelta(seconds=40))
    _asked(gate, who, Wish("reboot", reason="ticket 4713"), timedelta(seconds=30))
    _asked(gate, who, Wish("message", {"text": "The gate restarts. Do not switch it off."}), timedelta(seconds=20))
    carrying.sign()
    at_home = {"settings_state": "trying", "settings_at": timezone.now() - timedelta(seconds=50)}
    Device.objects.filter(pk=gate.pk).update(**at_home)


def _dosing(dosing: Device, who: Who) -> None:
    """What fails says why, in the console's words and in the hook's."""
    said = "health: the pump's controller does not answer on /dev/ttyS1\nhealth: 2 of 3 checks failed"
    _ended(dosing, who, HEALTH, timedelta(minutes=12), code="hook.failed", status=1, said=said)
    steps = [
        {"step": "resolve", "ms": 9, "code": None},
        {"step": "connect", "ms": 21_000, "code": "tunnel.unreachable"},
    ]
    failed = {"relay": "r-osaka", "way": None, "opens_in_ms": None, "steps": steps}
    _ended(dosing, who, Wish("rehearse"), timedelta(minutes=8), code="tunnel.unreachable", status=None, result=failed)
    put_back = {"settings_state": "reverted", "settings_code": "settings.unconfirmed"}
    Device.objects.filter(pk=dosing.pk).update(settings_at=timezone.now() - timedelta(hours=2), **put_back)


def ask_meters(house: House) -> Batch:
    """Asked of all twelve of another project: some have done it, one could not, one is away, the rest are told."""
    who, now = Who(house.owner, HERE), timezone.now()
    project = Project.objects.create(name="Atsuta meters")
    Member.objects.create(project=project, user=house.owner, role="owner")
    keep_keys(replace(house, project=project))
    joined = {"joined_at": now, "seen_at": now, "nonce": "n" * 22, "runner_nonce": "r" * 22, "state": "joined"}
    for number in range(1, 13):
        more = {"presence": "away" if number == 7 else "connected", "verbs": [] if number == 4 else list(VERBS)}
        Device.objects.create(project=project, name=f"Meter {number:02}", **joined, **more)
    meters = devices_named(project, list(Device.objects.filter(name__startswith="Meter").values_list("pk", flat=True)))
    with at(now - timedelta(minutes=2)):
        batch = ask_commands(project, meters, Wish("reboot", reason="ticket 4720"), who)
        carrying.sign()
        told = {one.device.name: one for one in Command.objects.filter(batch=batch).select_related("device")}
        for number in (1, 2, 3, 8, 10):
            carrying.end(told[f"Meter {number:02}"], lasted_ms=30_000 + 1_100 * number)
        carrying.end(told["Meter 05"], code="command.no-effect", said="reboot: the watchdog is held by another program")
        carrying.begin(told["Meter 06"])
    for one in told.values():
        carrying.back_date(one, timedelta(minutes=2))
    Batch.objects.filter(pk=batch.pk).update(at=now - timedelta(minutes=2))
    batch.refresh_from_db()
    return batch


def _asked(device: Device, who: Who, wish: Wish, ago: timedelta) -> Command:
    with at(timezone.now() - ago):
        command = ask_command(device, wish, who)
    carrying.back_date(command, ago)
    return command


def _ended(device: Device, who: Who, wish: Wish, ago: timedelta, **outcome: object) -> None:
    with at(timezone.now() - ago):
        command = ask_command(device, wish, who)
        carrying.sign()
        carrying.end(command, **outcome)
    carrying.back_date(command, ago)
