"""What a device has to be told, when, and how often; and that two workers tell it once."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.closing import held
from doorward_console.maintenance.facts import DEVICE_ACCEPTED, ORDERED, Stepped
from doorward_console.maintenance.models import Desired, Grant, Order, Session
from doorward_console.maintenance.orders import ask_where_due, send_signed
from doorward_console.maintenance.sealing import seal_order
from doorward_console.maintenance.sessions import apply
from doorward_console.maintenance.telling import (
    MOST_PER_NONCE,
    RESEND_AFTER_MS,
    Reported,
    Told,
    Wanted,
    differs,
    is_due,
)
from doorward_console.times import ms_from_time
from doorward_console.worker.rates import MOST_IN_WINDOW, WINDOW_MS, Allowances
from doorward_protocol.revisions import NEVER, Revision

from tests.console.conftest import House, make_house
from tests.console.rig import keep_keys
from tests.console.test_asking import live
from tests.console.test_inbox import at_once

FIVE, SIX = Revision(0, 5), Revision(0, 6)
OPEN, SHUT, SET = Wanted(SIX, "d6", "open"), Wanted(SIX, "d6", "shut"), Wanted(SIX, "d6")
NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("wanted", "reported", "answer"),
    [
        (OPEN, Reported(NEVER, None, "SHUT"), True),
        (OPEN, Reported(FIVE, "d5", "SHUT"), True),
        (OPEN, Reported(SIX, "other", "OPEN"), True),
        (OPEN, Reported(SIX, "d6", "OPEN"), False),
        (OPEN, Reported(SIX, "d6", "OPENING"), False),
        (OPEN, Reported(SIX, "d6", "RETRYING"), False),
        (OPEN, Reported(SIX, "d6", "RETRYING", needs_order=True), True),
        (OPEN, Reported(SIX, "d6", "SHUT"), True),
        (SHUT, Reported(SIX, "d6", "SHUT"), False),
        (SHUT, Reported(SIX, "d6", "CLOSING"), False),
        (SHUT, Reported(SIX, "d6", "OPEN"), True),
        (SHUT, Reported(FIVE, "d5", "OPEN"), True),
        (SET, Reported(SIX, "d6"), False),
        (SET, Reported(FIVE, "d5"), True),
        (SET, Reported(Revision(1, 1), "d"), True),
    ],
)
def test_device_when_it_reports_then_it_differs_or_not(wanted: Wanted, reported: Reported, answer: object) -> None:
    """A device is told when revision, digest or the door itself are other than they should be."""
    assert differs(wanted, reported) is answer


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (Told(), True),
        (Told(is_under_way=True), False),
        (Told(1, last_sent_at=NOW), False),
        (Told(1, last_sent_at=NOW - RESEND_AFTER_MS), True),
        (Told(MOST_PER_NONCE, last_sent_at=NOW - 10 * RESEND_AFTER_MS), False),
    ],
)
def test_order_when_one_was_made_for_these_nonces_then_it_is_repeated_late_and_seldom(
    told: Told, answer: object
) -> None:
    """At most one order is under way, and a device that does not obey is not told for ever."""
    assert is_due(OPEN, Reported(FIVE, "d5", "SHUT"), told, NOW) is answer


def test_device_when_it_shouts_then_its_share_ends_and_others_are_heard() -> None:
    """What one device says too much is not heard; a new window begins ten seconds later."""
    allowances, most = Allowances(), MOST_IN_WINDOW["ask"]
    heard = [allowances.is_allowed("d-a", "ask", NOW) for _ in range(most + 5)]
    assert heard.count(True) == most
    assert allowances.is_allowed("d-b", "ask", NOW)
    assert allowances.is_allowed("d-a", "record", NOW)
    assert allowances.is_allowed("d-a", "ask", NOW + WINDOW_MS)
    assert not allowances.is_allowed("d-a", "strange", NOW)


def test_device_when_it_said_too_much_then_its_last_ask_is_heard_once_the_window_is_over() -> None:
    """An agent that was restarted again and again is not left unheard until its next ask in five minutes."""
    allowances = Allowances()
    while allowances.is_allowed("d-a", "ask", NOW):
        pass
    allowances.keep_ask("d-a", b"older")
    allowances.keep_ask("d-a", b"newest")
    assert allowances.late_asks(NOW + WINDOW_MS - 1) == {}
    assert allowances.late_asks(NOW + WINDOW_MS) == {"d-a": b"newest"}
    assert allowances.late_asks(NOW + WINDOW_MS) == {}


@pytest.mark.parametrize(("silent_s", "count"), [(None, 0), (5, 0), (20, 1)])
def test_device_when_its_open_door_has_been_silent_then_it_is_told_again(
    house: House, silent_s: int | None, count: int
) -> None:
    """A device that says it is open, while nothing comes through, gets its order again and at least asks because of it."""
    session, now = live(house, "open"), timezone.now()
    lost_at = None if silent_s is None else now - timedelta(seconds=silent_s)
    Session.objects.filter(pk=session.pk).update(lost_at=lost_at)
    Desired.objects.filter(device=house.device).update(body='{"state":"open"}')
    held: Desired = Desired.objects.get(device=house.device)
    Device.objects.filter(pk=house.device.pk).update(
        presence="connected", seen_at=now, door_state="OPEN", door_epoch=held.epoch, door_revision=held.revision,
        door_digest=held.digest,
    )  # fmt: skip
    assert ask_where_due(now) == count


def desire(house: House, **reported: Any) -> Desired:
    """Want the door shut at revision 6, with the device reporting what is given."""
    values = {"presence": "connected", "seen_at": timezone.now()} | reported
    Device.objects.filter(pk=house.device.pk).update(**values)
    made: Desired = Desired.objects.create(
        device=house.device, part="door", epoch=0, revision=6, body='{"state":"shut","session":null}', digest="d6"
    )
    return made


@pytest.mark.parametrize(
    ("reported", "count"),
    [
        ({"door_revision": 6, "door_digest": "d6"}, 0),
        ({"door_revision": 6, "door_digest": "d6", "door_state": "OPEN"}, 1),
        ({"door_revision": 6, "door_digest": None}, 1),
        ({"door_revision": 5, "door_digest": "d6"}, 1),
        ({"door_revision": 5, "door_digest": "d5", "presence": "away"}, 0),
        ({"door_revision": 5, "door_digest": "d5", "state": "blocked"}, 0),
        ({"door_revision": 5, "door_digest": "d5", "nonce": ""}, 0),
    ],
)
def test_round_when_devices_are_looked_at_then_only_those_who_differ_get_an_order(
    house: House, reported: dict[str, Any], count: int
) -> None:
    """The database's look and the judgement agree, and a second look asks for nothing more."""
    desire(house, **reported)
    assert ask_where_due(timezone.now()) == count
    assert ask_where_due(timezone.now()) == 0


def test_device_when_two_parts_have_to_be_told_then_the_door_goes_first_and_the_other_with_the_runners_next_nonce(
    house: House,
) -> None:
    """Both signed for one nonce of the runner's would make each other stale, again and again: a door took 20 s and more."""
    desire(house)
    Desired.objects.create(device=house.device, part="settings", epoch=0, revision=3, body='{"values":{}}', digest="s3")
    device = Device.objects.filter(pk=house.device.pk)
    now = timezone.now()
    assert ask_where_due(now) == 1
    (order,) = Order.objects.all()
    assert order.part == "door"
    keep_keys(house)
    keys = SignerKeys(wrapping_key_from_file(settings.CONFIG.signer_key))
    seal_order(keys, order, device.get(), Desired.objects.get(part="door"), now)
    order.save()
    assert ask_where_due(now) == 0, "while the door's waits to be sent"
    Order.objects.update(state="sent", sent_at=now)
    device.update(nonce="m" * 22, door_revision=6, door_digest="d6")
    assert ask_where_due(now) == 0, "the device has it, and its runner has not used its nonce yet"
    device.update(runner_nonce="q" * 22)
    assert ask_where_due(now) == 1
    Order.objects.filter(part="settings").delete()
    device.update(runner_nonce="r" * 22)
    assert ask_where_due(now + timedelta(seconds=4)) == 1, "a device that never uses it is told all the same"


@pytest.mark.parametrize(
    ("session", "grant", "goes", "state"),
    [
        ("opening", "signed", 0, "signed"),
        ("opening", "put", 1, "sent"),
        ("opening", "refused", 0, "dropped"),
        ("opening", None, 1, "sent"),
        ("open", "put", 1, "sent"),
        ("closing", "put", 0, "dropped"),
        ("closing", "signed", 0, "dropped"),
        ("failed", "refused", 0, "dropped"),
    ],
)
def test_order_to_open_when_the_relay_has_no_grant_yet_then_it_waits_and_when_it_never_will_then_it_is_dropped(
    house: House, session: str, grant: str | None, goes: int, state: str
) -> None:
    """The grant is on the relay before the order goes out; an order whose session is over never goes."""
    opened = live(house, session)
    Desired.objects.filter(device=house.device).update(revision=6)
    if grant is not None:
        Grant.objects.create(session=opened, relay=house.relay, epoch=0, sequence=1, envelope=b"signed", state=grant)
    order = Order.objects.create(
        device=house.device, part="door", epoch=0, revision=6, nonce="n" * 22, envelope=b"signed",
        state=Order.State.SIGNED, signed_at=timezone.now(),
    )  # fmt: skip
    assert send_signed(lambda _device, _envelope: True, timezone.now()) == goes
    order.refresh_from_db()
    assert order.state == state


def test_order_when_there_is_no_connection_then_it_waits(house: House) -> None:
    """What the broker did not take is not called sent."""
    desire(house)
    order = Order.objects.create(
        device=house.device, part="door", epoch=0, revision=6, nonce="n" * 22, envelope=b"signed",
        state=Order.State.SIGNED, signed_at=timezone.now(),
    )  # fmt: skip
    assert send_signed(lambda _device, _envelope: False, timezone.now()) == 0
    order.refresh_from_db()
    assert order.state == Order.State.SIGNED


@pytest.mark.real("postgres")
def test_order_when_two_workers_could_send_it_then_one_does(on_postgres: str, django_db_blocker: Any) -> None:
    """A signed order is claimed by one worker; the device hears it once."""
    with django_db_blocker.unblock():
        house = make_house()
        desire(house)
        Order.objects.create(
            device=house.device, part="door", epoch=0, revision=6, nonce="n" * 22, envelope=b"signed",
            state=Order.State.SIGNED, signed_at=timezone.now(),
        )  # fmt: skip
        published: list[str] = []

        def publish(device: str, _envelope: bytes) -> bool:
            published.append(device)
            return True

        sent = at_once(lambda: send_signed(publish, timezone.now()), 4)
        assert sorted(sent) == [0, 0, 0, 1]
        assert published == [house.device.pk]


@pytest.mark.real("postgres")
def test_session_when_another_holds_its_device_then_facts_are_stored_without_waiting(
    on_postgres: str, django_db_blocker: Any
) -> None:
    """Who turns off holds the device and then wants the session; the worker, who holds the session, never waits for it.

    A second change of one row in one transaction makes PostgreSQL look up its foreign keys again when it commits.
    """
    with django_db_blocker.unblock():
        session = live(make_house(), "opening")
        is_held, may_go = threading.Event(), threading.Event()

        def hold() -> None:
            with held(session.device):
                is_held.set()
                may_go.wait(20)
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        assert is_held.wait(10)
        now = ms_from_time(timezone.now())
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            with transaction.atomic():
                assert apply(session.pk, Stepped(ORDERED, now))
                assert apply(session.pk, Stepped(DEVICE_ACCEPTED, now))
        finally:
            may_go.set()
            holder.join(10)
            connection.close()
