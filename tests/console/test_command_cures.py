"""What keeps commands right at odd moments: two who act at once, an end that has passed, a full queue, a blocked device."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.blocking import block
from doorward_console.maintenance.commands.asking import ask_commands, cancel, stop
from doorward_console.maintenance.commands.hearing import send_commands
from doorward_console.maintenance.commands.promoting import free_devices
from doorward_console.maintenance.models import Command, Order
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User

from tests.console.commanding import HELLO, asked, can_all, done, fresh, signer_at_work, who_of
from tests.console.conftest import House, make_house
from tests.parts.waiting import wait_until


def in_between(first: Callable[[], object], second: Callable[[], object]) -> None:
    """Let ``second`` begin, on a connection of its own, while ``first`` is done and not committed yet."""
    faults: list[BaseException] = []

    def other() -> None:
        try:
            second()
        except BaseException as error:  # noqa: BLE001  # the thread's root: shown below
            faults.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        first()
        thread.start()
        wait_until(_somebody_waits, 20, "the other to wait for the row")
    thread.join(20)
    assert faults == []


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.real("postgres")
@pytest.mark.parametrize("state", ["asked", "queued"])
def test_command_when_cancelled_while_the_signer_is_at_it_then_it_is_neither_queued_nor_told(
    on_postgres: str, state: str
) -> None:
    """The signer holds what it decides about: whoever cancels comes before or after, never in between."""
    house = make_house()
    can_all(house, presence="connected" if state == "asked" else "away")
    command = asked(house)
    if state == "queued":
        signer_at_work(house)
        can_all(house)
    assert fresh(command).state == state
    in_between(lambda: cancel(command, who_of(house)), lambda: signer_at_work(house))
    assert (fresh(command).state, Order.objects.count()) == ("cancelled", 0)
    assert not Pending.objects.filter(verb="command.ordered").exists()


@pytest.mark.real("postgres")
def test_command_when_its_end_is_heard_while_it_is_cancelled_then_both_stand_in_the_history(on_postgres: str) -> None:
    """The device's word overrides the cancelling, and says that it does."""
    house = make_house()
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    in_between(lambda: cancel(command, who_of(house)), lambda: done(house, command))
    line = Pending.objects.get(verb="command.ended")
    assert (fresh(command).state, line.data["state"], line.data["was"]) == ("done", "done", "cancelled")


@pytest.mark.real("postgres")
def test_device_when_blocked_while_a_command_ends_then_that_one_is_not_said_to_be_cancelled(on_postgres: str) -> None:
    """What is written down as cancelled was."""
    house = make_house()
    can_all(house)
    ended, queued = asked(house), asked(house)
    signer_at_work(house)
    in_between(lambda: done(house, ended), lambda: block(house.device, house.owner, ""))
    assert (fresh(ended).state, fresh(queued).state) == ("done", "cancelled")
    cancelled = Pending.objects.filter(verb="command.cancelled").values_list("data__command", flat=True)
    assert list(cancelled) == [queued.pk]


def _over(command: Command) -> None:
    Command.objects.filter(pk=command.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_command_when_its_end_passed_in_the_queue_then_the_next_is_told_and_it_is_left_to_expire(house: House) -> None:
    """The worker says that it expired; it holds up nobody, and the signer has nothing to do for it alone."""
    can_all(house, presence="away")
    late, command = asked(house), asked(house)
    signer_at_work(house)
    can_all(house)
    _over(late)
    signer_at_work(house)
    assert (fresh(late).state, fresh(command).state) == ("queued", "ordered")
    done(house, command)
    assert free_devices() == []


def sent(now: datetime) -> int:
    return send_commands(lambda _device, _envelope: True, now)


def test_command_when_its_end_passed_before_it_was_sent_then_the_broker_never_sees_it(house: House) -> None:
    """Signed in time and sent too late is too late."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    assert (sent(command.expires_at), Order.objects.get().state) == (0, "dropped")


def test_commands_when_fifty_wait_and_one_of_them_was_told_then_the_next_is_refused(house: House) -> None:
    """Those of earlier looks count, and so does the one that the device has been told and not ended."""
    can_all(house)
    for _ in range(50):
        asked(house)
    signer_at_work(house)
    assert Command.objects.filter(state="ordered").count() == 1
    command = asked(house)
    signer_at_work(house)
    assert (fresh(command).state, command.code) == ("refused", "command.too-many")


@pytest.mark.threat("lesser-role")
def test_command_when_a_lesser_role_cancels_or_stops_then_it_goes_on(house: House) -> None:
    """Whoever may not ask for it takes nobody's back, one or many."""
    can_all(house)
    viewer = User.objects.create_user("some@example.com")
    Member.objects.create(project=house.project, user=viewer, role="viewer")
    who = Who(viewer, "203.0.113.8")
    command, batch = asked(house), ask_commands(house.project, [house.device], HELLO, who_of(house))
    with pytest.raises(NotEntitled):
        cancel(command, who)
    with pytest.raises(NotEntitled):
        stop(batch, who)
    assert set(Command.objects.values_list("state", flat=True)) == {"asked"}
    batch.refresh_from_db()
    assert batch.stopped_at is None


@pytest.mark.parametrize(("state", "code"), [("blocked", "signer.blocked"), ("added", "signer.not-joined")])
def test_command_when_the_device_is_blocked_or_not_joined_then_refused_at_once_and_again_by_the_signer(
    house: House, state: str, code: str
) -> None:
    """The page says so; and a device that became so just now is caught where it is decided."""
    can_all(house)
    command = asked(house)
    can_all(house, state=state, **({} if state == "blocked" else {"joined_at": None}))
    with pytest.raises(NotAsked) as refused:
        asked(house)
    assert refused.value.code == code
    signer_at_work(house)
    assert (fresh(command).state, command.code) == ("refused", code)


def test_device_when_blocked_just_now_then_nothing_is_signed_for_it_nor_sent(house: House) -> None:
    """Between the blocking and the cancelling there is no gap."""
    can_all(house)
    asked(house)
    signer_at_work(house)
    can_all(house, state="blocked")
    assert (sent(timezone.now()), Order.objects.get().state) == (0, "dropped")
    Command.objects.update(state="done")
    Command.objects.create(
        project=house.project, device=house.device, verb="message", by_name="x", state="queued",
        expires_at=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    assert free_devices() == []
    Device.objects.update(state="joined")
    assert free_devices() == [(house.device.pk,)]


def test_command_when_another_owner_cancels_it_then_it_is_cancelled_in_their_name(house: House) -> None:
    """Whoever may ask for it may take it back, not its asker alone."""
    can_all(house)
    command = asked(house)
    other = User.objects.create_user("other@example.com")
    Member.objects.create(project=house.project, user=other, role="engineer")
    cancel(command, replace(who_of(house), user=other))
    assert (fresh(command).state, command.ended_by_name) == ("cancelled", "other@example.com")
