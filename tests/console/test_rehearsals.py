"""Rehearsals at the console: certificate and grant for minutes, put before the order goes, ended with the command; and who may ask."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from django.utils import timezone as now_of
from doorward_console.fleet.models import Device, Relay, RelayLine
from doorward_console.maintenance import grants
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.asking import turn_on
from doorward_console.maintenance.commands.asking import Wish, ask_command
from doorward_console.maintenance.commands.hearing import hear_put, send_commands
from doorward_console.maintenance.commands.rehearsals import Told, has_rehearsed_well, last_of, result_of, told_of
from doorward_console.maintenance.commands.wishes import (
    NIGHT_MINUTES,
    ask_nightly,
    ask_on_trial,
    hear,
    minute_of,
)
from doorward_console.maintenance.models import Command, Order, Rehearsal, Session
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User
from doorward_protocol.commands import RunCommand
from doorward_protocol.envelope import decode
from doorward_protocol.grants import grant_from_envelope
from doorward_protocol.ids import ProjectId, RelayId
from doorward_protocol.rehearsal import STEPS, Rehearsed, Step, rehearsal_from_arguments, result_from_rehearsed
from doorward_protocol.signature import KeyRing

from tests.console.commanding import ALL, asked, can_all, done, fresh, signer_at_work
from tests.console.conftest import House
from tests.console.test_api import call, token_of
from tests.console.test_signing import message_of
from tests.console.visiting import address, ask, client_of

pytestmark = pytest.mark.feature("B10")
REHEARSE = Wish("rehearse")
WELL = Rehearsed("r-aaaaaaaaaaaaaaaa", "ssh", tuple(Step(name, 9) for name in STEPS), 150)


@pytest.fixture
def able(house: House) -> House:
    """A house whose device can rehearse."""
    can_all(house, verbs=[*ALL, "rehearse"])
    return house


def body_of(order: Order) -> RunCommand:
    body = message_of(order).body
    assert isinstance(body, RunCommand)
    return body


def send() -> int:
    return send_commands(lambda _device, _envelope: True, now_of.now())


def test_rehearsal_when_asked_then_its_grant_is_on_the_relay_before_the_order_goes_and_ends_with_the_result(
    able: House,
) -> None:
    """The whole way of one: certificate of five minutes, grant without forwards, put, told, ended."""
    command = asked(able, REHEARSE)
    signer = signer_at_work(able)
    row, order = Rehearsal.objects.get(), Order.objects.get()
    body = body_of(order)
    told = rehearsal_from_arguments(body.arguments)
    certificate = load_ssh_public_identity(told.relays[0].certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    assert certificate.valid_principals == [row.session.encode()]
    assert timedelta(0) < fresh(command).expires_at - now_of.now() <= timedelta(seconds=300)
    assert certificate.valid_before == int(command.expires_at.timestamp()) == body.expires_at // 1000
    assert (told.session, command.arguments, told.port) == (row.session, {}, 65_535)
    ring = KeyRing([signer.keys.grant(able.project.pk).public])
    granted = grant_from_envelope(
        bytes(row.envelope), ring, relay=RelayId(able.relay.pk), project=ProjectId(able.project.pk)
    )
    assert (granted.forwards, granted.session, granted.ends_at) == ((), row.session, body.expires_at)

    (put,) = grants.to_put()
    assert (put.is_rehearsal, put.session, send()) == (True, row.session, 0)
    assert row.session in grants.to_reconcile(able.relay.pk).sessions
    hear_put(put.grant, None, now_of.now())
    assert (grants.to_put(), send(), grants.to_end(now_of.now())) == ([], 1, [])
    done(able, command, result=result_from_rehearsed(WELL))
    (end,) = grants.to_end(now_of.now())
    assert (end.relay, end.session) == (able.relay.pk, row.session)
    assert grants.to_reconcile(able.relay.pk).sessions == ()
    grants.was_not_ended(end.session, "relay.unreachable", now_of.now())
    grants.was_ended(end.relay, end.session, now_of.now())
    assert grants.to_end(now_of.now()) == []
    assert Session.objects.count() == 0
    last = last_of(able.device)
    assert last is not None
    assert result_of(last) == WELL


def test_rehearsal_when_the_relay_does_not_take_its_grant_then_it_has_failed_with_that(able: House) -> None:
    """A door would not open there either; nothing is told to the device."""
    command = asked(able, REHEARSE)
    signer_at_work(able)
    (put,) = grants.to_put()
    hear_put(put.grant, "relay.unreachable", now_of.now())
    assert (fresh(command).state, command.code, send(), grants.to_end(now_of.now())) == (
        "failed", "relay.unreachable", 0, [],
    )  # fmt: skip


def test_rehearsal_when_nobody_ends_its_grant_then_the_relay_has_by_itself(able: House) -> None:
    """A relay that is out of reach is not tried for ever."""
    command = asked(able, REHEARSE)
    signer_at_work(able)
    done(able, command)
    assert grants.to_end(now_of.now())
    assert grants.to_end(now_of.now() + timedelta(minutes=6)) == []


def test_grants_when_doors_and_rehearsals_wait_then_they_are_put_in_the_order_of_their_sequences(able: House) -> None:
    """A relay refuses a lower one: the door's would fail, and alarm."""
    first = asked(able, REHEARSE)
    signer_at_work(able)
    turn_on(able.device, able.owner, "203.0.113.7", 600)
    signer_at_work(able)
    assert [one.is_rehearsal for one in grants.to_put()] == [True, False]
    done(able, first)
    asked(able, REHEARSE)
    signer_at_work(able)
    assert [one.is_rehearsal for one in grants.to_put()] == [False, True]


def test_rehearsal_when_the_relay_is_plain_then_the_project_admits_and_a_port_outside_its_line_is_asked_for(
    able: House,
) -> None:
    """There is no grant to put; what the line names would be given."""
    Relay.objects.filter(pk=able.relay.pk).update(kind="plain")
    RelayLine.objects.create(project=able.project, ports=[65_535, 22_001])
    Device.objects.create(project=able.project, name="press 2", relay=able.relay, relay_port=65_534)
    asked(able, REHEARSE)
    signer_at_work(able)
    told = rehearsal_from_arguments(body_of(Order.objects.get()).arguments)
    certificate = load_ssh_public_identity(told.relays[0].certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    assert certificate.valid_principals == [told.session.encode(), able.project.pk.encode()]
    assert (told.port, Rehearsal.objects.count(), send()) == (65_533, 0, 1)


def test_rehearsal_when_the_device_has_no_relay_then_it_is_refused(able: House) -> None:
    """Nobody waits for what cannot be."""
    Device.objects.filter(pk=able.device.pk).update(presence="away")
    waiting = asked(able, REHEARSE)
    signer_at_work(able)
    Device.objects.filter(pk=able.device.pk).update(relay=None, presence="connected")
    signer_at_work(able)
    late = asked(able, REHEARSE)
    signer_at_work(able)
    assert [(fresh(one).state, one.code) for one in (waiting, late)] == [("refused", "signer.no-relay")] * 2


def test_rehearsal_when_an_engineer_asks_then_it_is_told_and_a_viewer_is_refused(able: House) -> None:
    """Whoever logs in may look whether that would work."""
    for role, is_allowed in (("engineer", True), ("viewer", False)):
        user = User.objects.create_user(f"{role}@example.com", "a long password 1")
        Member.objects.create(project=able.project, user=user, role=role)
        if not is_allowed:
            with pytest.raises(NotEntitled):
                ask_command(able.device, REHEARSE, Who(user, ""))
            continue
        command = ask_command(able.device, REHEARSE, Who(user, ""))
        signer_at_work(able)
        assert fresh(command).state == "ordered"


def test_command_when_nobody_asked_then_only_a_rehearsal_is_told(able: House) -> None:
    """A worker that lies gets no reboot signed, and neither does one whose asker was removed."""
    made = [
        Command.objects.create(
            project=able.project, device=able.device, verb=verb, by_name="nobody", expires_at=now_of.now() + timedelta(1)
        )
        for verb in ("reboot", "message", "rehearse")
    ]  # fmt: skip
    signer_at_work(able)
    assert [fresh(one).code for one in made] == ["signer.not-entitled", "signer.not-entitled", ""]


def test_rehearsal_when_the_agent_is_older_then_it_is_not_offered(house: House) -> None:
    """Its word is what counts, as with hooks."""
    can_all(house)
    with pytest.raises(NotAsked, match="agent does not know that command"):
        asked(house, REHEARSE)


def test_wish_when_a_device_has_one_then_a_rehearsal_is_asked_for_and_not_again_at_once(able: House) -> None:
    """Asks are not signed: whoever forges them gets one in ten seconds, and never a second beside the first."""
    now, device = now_of.now(), able.device.pk
    assert hear([(device, "rehearse"), (device, "reboot"), (device, None)], now) == 1
    assert hear([(device, "rehearse")], now + timedelta(minutes=1)) == 0
    command = Command.objects.get()
    signer_at_work(able)
    assert (fresh(command).state, command.by_name) == ("ordered", "the device itself")
    done(able, command)
    assert hear([(device, "rehearse")], now + timedelta(seconds=9)) == 0
    assert hear([(device, "rehearse")], now + timedelta(seconds=11)) == 1


NIGHT = datetime(2026, 11, 25, 1, tzinfo=timezone.utc)


def test_night_when_it_has_passed_then_each_idle_device_was_asked_once_at_a_minute_of_its_own(able: House) -> None:
    """Spread, connected ones only, beside no open door, and none by two workers."""
    more = [
        Device(
            project=able.project, name=f"press {n}", state="joined", relay=able.relay, relay_port=23_000 + n,
            presence="away" if n == 2 else "connected", verbs=["rehearse"], nonce="n" * 22,
        )
        for n in range(2, 40)
    ]  # fmt: skip
    Device.objects.bulk_create(more)
    turn_on(able.device, able.owner, "203.0.113.7", 600)
    signer_at_work(able)
    assert ask_nightly(NIGHT - timedelta(hours=5), NIGHT - timedelta(minutes=1)) == 0
    counts: list[int] = []
    for minute in range(NIGHT_MINUTES + 30):
        since = NIGHT + timedelta(minutes=minute - 1)
        counts += [ask_nightly(since, since + timedelta(minutes=1)) for _ in ("one worker", "another")]
    assert sum(counts) == 37
    assert max(counts) <= 4
    assert not Command.objects.filter(device__in=[able.device, more[0]]).exists()
    assert {one.device_id: (one.at - NIGHT) // timedelta(minutes=1) for one in Command.objects.all()} == {
        one.pk: minute_of(one.pk) for one in more[1:]
    }


def test_night_when_the_worker_slept_through_it_then_no_storm_follows(able: House) -> None:
    """What was missed is left for the next night."""
    ids = [f"d-{n}" for n in range(2_000)]
    assert len({minute_of(one) for one in ids}) == NIGHT_MINUTES
    minute = minute_of(able.device.pk)
    end = NIGHT + timedelta(minutes=minute + 6)
    assert ask_nightly(NIGHT - timedelta(hours=1), end) == 0
    assert ask_nightly(NIGHT - timedelta(hours=1), end - timedelta(minutes=2)) == 1


def test_trial_when_settings_are_on_trial_then_rehearsals_are_asked_for_until_one_went_well(able: House) -> None:
    """The console confirms what it was shown, and shows it by itself."""
    now = now_of.now()
    assert ask_on_trial(now) == 0
    before = asked(able, REHEARSE)
    signer_at_work(able)
    done(able, before, result=result_from_rehearsed(WELL))
    Device.objects.filter(pk=able.device.pk).update(settings_state="trying", settings_at=now_of.now())
    since = now_of.now()
    assert not has_rehearsed_well(able.device, since)
    assert (ask_on_trial(now_of.now()), ask_on_trial(now_of.now())) == (1, 0)
    end_newest(able, "tunnel.unreachable")
    assert ask_on_trial(now_of.now()) == 0
    later = now_of.now() + timedelta(seconds=16)
    assert ask_on_trial(later) == 1
    end_newest(able)
    assert ask_on_trial(later + timedelta(seconds=16)) == 0
    assert has_rehearsed_well(able.device, since)


def end_newest(house: House, code: str | None = None, **more: Any) -> None:
    signer_at_work(house)
    done(house, Command.objects.latest("at"), code, **more)
    assert decode(bytes(Order.objects.latest("asked_at").envelope or b""), expected="order")


def test_page_when_a_device_has_rehearsed_then_page_and_api_say_whether_a_door_would_open(able: House) -> None:
    """The seconds where it would; the step, what it means and what to do where it would not."""
    browser, path = client_of(able.owner), address("device", able)
    assert "A door would" not in ask(browser, "GET", path).content.decode()
    first = asked(able, REHEARSE)
    signer_at_work(able)
    done(able, first, result=result_from_rehearsed(WELL._replace(opens_in_ms=1_234)))
    assert "A door would open in 1.2 s." in ask(browser, "GET", path).content.decode()
    assert told_of(able.device) == Told(fresh(first).ended_at or now_of.now(), 1_234)
    second = asked(able, REHEARSE)
    signer_at_work(able)
    failed = WELL._replace(steps=(*WELL.steps[:3], Step("log-in", 8, "tunnel.not-admitted")), opens_in_ms=None)
    done(able, second, "tunnel.not-admitted", result=result_from_rehearsed(failed))
    shown = ask(browser, "GET", path).content.decode()
    assert "A door would not open: logging in to the relay failed." in shown
    assert "doorward-relay status" in shown
    said = call(token_of(able.owner), "GET", f"/devices/{able.device.pk}/rehearsal").json()
    assert (said["opens"], said["step"], said["why"]["code"]) == (
        False,
        "logging in to the relay",
        "tunnel.not-admitted",
    )
