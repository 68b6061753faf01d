"""Commands in the database: asked, queued, told one at a time, ended; and what two people or two processes do at once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.maintenance import blocking
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.commands.asking import Wish, ask_commands, cancel, stop
from doorward_console.maintenance.commands.hearing import apply_time, send_commands
from doorward_console.maintenance.models import Command, Desired, Order
from doorward_console.maintenance.orders import ask_where_due
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User
from doorward_protocol.commands import RunCommand

from tests.console.commanding import (
    HELLO,
    asked,
    can_all,
    done,
    fresh,
    hear,
    holds,
    signer_at_work,
    who_of,
)
from tests.console.conftest import House, make_house
from tests.console.test_inbox import at_once
from tests.console.test_signing import message_of


def ended(house: House) -> list[tuple[str, str]]:
    """Give the ends that the console wrote down: state and code."""
    lines = Pending.objects.filter(project=house.project, verb="command.ended").order_by("pk")
    return [(line.data["state"], line.data["code"]) for line in lines]


def send(house: House) -> list[str]:
    """Let the worker send what is signed; gives the devices that heard something."""
    heard: list[str] = []

    def publish(device: str, _: bytes) -> bool:
        heard.append(device)
        return True

    send_commands(publish, timezone.now())
    return heard


@pytest.mark.feature("I11")
def test_command_when_the_device_is_there_then_it_is_signed_for_its_nonces_and_ends_with_its_result(
    house: House,
) -> None:
    """The whole way: asked, signed, sent, begun, done; each step stands in the history."""
    can_all(house)
    command = asked(house, reason="ticket 4711")
    signer_at_work(house)
    assert fresh(command).state == "ordered"
    order = message_of(Order.objects.get())
    assert (order.part, order.nonce, order.runner_nonce) == ("command", "n" * 22, "r" * 22)
    assert isinstance(order.body, RunCommand)
    body = order.body
    assert (body.command, body.verb, body.arguments, body.asked.reason) == (
        command.pk, "message", {"text": "hello"}, "ticket 4711",
    )  # fmt: skip
    assert send(house) == [house.device.pk]
    assert (send(house), fresh(command).state) == ([], "ordered")
    assert (holds(house), fresh(command).state) == (1, "begun")
    assert done(house, command, said="shown", result={"shown": ["terminals"]}) == 1
    assert (fresh(command).state, command.said, command.result) == ("done", "shown", {"shown": ["terminals"]})
    assert ended(house) == [("done", "")]
    verbs = [line.verb for line in Pending.objects.filter(project=house.project) if line.verb.startswith("command")]
    assert verbs == ["command.asked", "command.ordered", "command.ended"]


def test_command_when_it_fails_then_its_code_and_words_are_kept(house: House) -> None:
    """Whoever asked reads why, and what the hook said."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    hear(house, "command.begun", command=command.pk, verb="message", order="o")
    assert fresh(command).state == "begun"
    done(house, command, "hook.failed", said="no space left")
    assert (fresh(command).state, command.code, command.status, command.said) == (
        "failed", "hook.failed", 3, "no space left",
    )  # fmt: skip


@pytest.mark.feature("I11")
def test_commands_when_several_wait_then_the_device_is_told_one_after_the_other(house: House) -> None:
    """The next is told when the one before has ended, in the order in which they were asked, each with the next revision."""
    can_all(house)
    commands = [asked(house) for _ in range(3)]
    revisions = []
    for command in commands:
        signer_at_work(house)
        signer_at_work(house)
        told = Desired.objects.get(part="command")
        assert told.command_id == command.pk
        revisions.append(told.revision)
        assert Command.objects.filter(state="ordered").count() == 1
        done(house, command)
    assert revisions == [1, 2, 3]


@pytest.mark.feature("I11")
def test_command_when_the_device_is_away_then_it_is_told_when_it_asks(house: House) -> None:
    """Queued while away: nothing is signed for old nonces; the next ask is answered."""
    can_all(house, presence="away")
    command = asked(house)
    signer_at_work(house)
    assert (fresh(command).state, Order.objects.count()) == ("queued", 0)
    can_all(house, nonce="m" * 22)
    signer_at_work(house)
    assert message_of(Order.objects.get()).nonce == "m" * 22
    assert send(house) == [house.device.pk]


@pytest.mark.parametrize(
    ("verbs", "seen", "code"),
    [(["health"], True, "hook.missing"), (None, True, "hook.missing"), ([], True, "hook.missing"), (None, False, None)],
)
def test_command_when_the_device_has_no_hook_then_refused_at_once_unless_it_was_never_heard(
    house: House, verbs: list[str] | None, seen: object, code: str | None
) -> None:
    """Only what a device can do is asked of it; one that has never spoken may be able to do it."""
    can_all(house, verbs=verbs, seen_at=timezone.now() if seen else None)
    if code is None:
        assert asked(house).state == "asked"
        return
    with pytest.raises(NotAsked) as refused:
        asked(house)
    assert refused.value.code == code
    assert not Command.objects.exists()


@pytest.mark.parametrize("verbs", [None, [], ["health"]])
def test_command_when_the_device_turns_out_not_to_have_the_hook_then_it_is_not_told_and_expires_with_that_word(
    house: House, verbs: list[str] | None
) -> None:
    """What waited for a device's first word is never sent to one that would not understand it."""
    can_all(house, verbs=None, seen_at=None)
    command = asked(house)
    signer_at_work(house)
    can_all(house, verbs=verbs)
    signer_at_work(house)
    assert (fresh(command).state, Order.objects.count(), ask_where_due(timezone.now())) == ("queued", 0, 0)
    apply_time(command.expires_at)
    assert (fresh(command).state, command.code) == ("expired", "hook.missing")


def test_command_when_the_hook_is_gone_since_then_it_is_not_told_again(house: House) -> None:
    """A device whose hook was taken away is told nothing of it."""
    can_all(house)
    asked(house)
    signer_at_work(house)
    can_all(house, verbs=["health"])
    assert (send(house), ask_where_due(timezone.now())) == ([], 0)
    can_all(house)
    assert ask_where_due(timezone.now()) == 1


def test_command_when_the_runner_refused_the_nonce_then_it_is_signed_again_at_once(house: House) -> None:
    """The device holds the command and lacks its order: that is not begun, and half a minute is not waited for."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    assert len(send(house)) == 1
    assert (ask_where_due(timezone.now()), holds(house, needs_order=True)) == (0, 0)
    Device.objects.filter(pk=house.device.pk).update(nonce="m" * 22, runner_nonce="s" * 22)
    assert ask_where_due(timezone.now()) == 1
    signer_at_work(house)
    assert message_of(Order.objects.latest("asked_at")).runner_nonce == "s" * 22
    assert len(send(house)) == 1
    assert (holds(house), fresh(command).state) == (1, "begun")
    assert ask_where_due(timezone.now()) == 0


def test_command_when_it_was_told_just_now_then_it_is_repeated_after_half_a_minute_and_under_new_nonces_at_once(
    house: House,
) -> None:
    """A thousand devices that were told a moment ago are not looked at each second; who asks anew is."""
    can_all(house)
    asked(house)
    signer_at_work(house)
    send(house)
    now = timezone.now()
    assert ask_where_due(now) == 0
    assert ask_where_due(now + timedelta(seconds=31)) == 1
    Order.objects.filter(state="asked").delete()
    Device.objects.filter(pk=house.device.pk).update(nonce="m" * 22)
    assert ask_where_due(now) == 1


def test_commands_when_they_were_told_just_now_then_no_device_is_looked_at_by_itself(
    house: House, django_assert_num_queries: Any
) -> None:
    """A bulk command on a thousand devices costs one look a second, and not a thousand, until something may be amiss."""
    can_all(house)
    asked(house)
    signer_at_work(house)
    now = timezone.now()
    with django_assert_num_queries(1):
        ask_where_due(now)  # signed, and not sent yet
    send(house)
    with django_assert_num_queries(1):
        ask_where_due(now)


@pytest.mark.feature("I11")
@pytest.mark.parametrize("state", ["asked", "queued", "ordered"])
def test_command_when_cancelled_before_it_began_then_nothing_more_is_told_of_it(house: House, state: str) -> None:
    """Cancelled while asked, queued, or signed and not sent: the broker never sees it, and the next one is told."""
    can_all(house)
    if state == "queued":
        asked(house)
        signer_at_work(house)
    command = asked(house)
    if state != "asked":
        signer_at_work(house)
    assert fresh(command).state == state
    cancel(command, who_of(house))
    signer_at_work(house)
    send(house)
    assert (fresh(command).state, command.ended_by_name) == ("cancelled", house.owner.email)
    assert Desired.objects.filter(part="command", command=command).exists() is (state == "ordered")
    assert not Order.objects.filter(state="sent", revision=2 if state == "queued" else 1).exists()
    after = asked(house)
    if state != "queued":
        signer_at_work(house)
        assert fresh(after).state == "ordered"
    assert ask_where_due(timezone.now() + timedelta(seconds=31)) == (1 if state == "queued" else 0)


@pytest.mark.parametrize("counted", ["cancelled", "expired"])
def test_command_when_a_late_record_tells_of_one_that_was_counted_out_then_the_truth_is_told(
    house: House, counted: str
) -> None:
    """It was under way when it was given up: what the device signed overrides, and both stand in the history."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    send(house)
    if counted == "cancelled":
        cancel(command, who_of(house))
    else:
        apply_time(command.expires_at)
    assert fresh(command).state == counted
    assert done(house, command) == 1
    assert (fresh(command).state, command.code, command.ended_by_name) == ("done", "", "")
    line = Pending.objects.filter(verb="command.ended").latest("pk")
    assert (line.data["state"], line.data["was"]) == ("done", counted)


def test_command_when_it_has_ended_then_it_cannot_be_cancelled(house: House) -> None:
    """Nobody takes back what has happened."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    done(house, command)
    with pytest.raises(NotAsked) as refused:
        cancel(command, who_of(house))
    assert refused.value.code == "command.not-waiting"


def test_command_when_its_time_is_over_then_it_expires_and_makes_room(house: House) -> None:
    """Nothing is told after its end, and the next one gets its turn."""
    can_all(house)
    first, second = asked(house, expires_s=60), asked(house)
    signer_at_work(house)
    assert apply_time(first.expires_at - timedelta(seconds=1)) == 0
    assert apply_time(first.expires_at) == 1
    assert (fresh(first).state, first.code) == ("expired", "command.expired")
    assert ended(house) == [("expired", "command.expired")]
    signer_at_work(house)
    assert fresh(second).state == "ordered"


@pytest.mark.parametrize(("presence", "state"), [("connected", "failed"), ("away", "begun")])
def test_command_when_it_began_and_a_device_that_is_there_tells_nothing_more_then_its_end_is_unknown(
    house: House, presence: str, state: str
) -> None:
    """A device that was shut down tells when it is back; one that is there and silent must not block the next for ever."""
    now = timezone.now()
    can_all(house)
    command = asked(house, expires_s=60)
    signer_at_work(house)
    holds(house)
    Device.objects.filter(pk=house.device.pk).update(presence=presence, presence_at=now)
    apply_time(now + timedelta(minutes=20))
    assert fresh(command).state == state
    assert done(house, command) == 1
    assert fresh(command).state == "done"


def test_command_when_the_asker_lost_the_right_since_then_the_signer_refuses_it(house: House) -> None:
    """The role counts as it is when it is signed."""
    can_all(house)
    admin = User.objects.create_user("admin@example.com")
    member = Member.objects.create(project=house.project, user=admin, role="admin")
    command = asked(replace(house, owner=admin), Wish("reboot"))
    member.role = "engineer"
    member.save()
    signer_at_work(house)
    assert (fresh(command).state, command.code) == ("refused", "signer.not-entitled")
    assert Pending.objects.filter(verb="command.refused", device=house.device.pk).exists()
    assert not Order.objects.exists()


@pytest.mark.threat("lesser-role")
@pytest.mark.parametrize(("verb", "role"), [("reboot", "engineer"), ("message", "viewer"), ("factory-reset", "admin")])
def test_command_when_a_lesser_role_asks_then_nothing_is_written(house: House, verb: str, role: str) -> None:
    """Each command has its own right."""
    can_all(house)
    user = User.objects.create_user("some@example.com")
    Member.objects.create(project=house.project, user=user, role=role)
    with pytest.raises(NotEntitled):
        asked(replace(house, owner=user), Wish(verb, confirm=house.device.name))
    assert not Command.objects.exists()


@pytest.mark.feature("I14")
def test_factory_reset_when_web_claims_that_it_was_confirmed_then_the_signer_compares_the_name_itself(
    house: House,
) -> None:
    """A web process that was taken over cannot skip the question."""
    can_all(house)
    command = asked(house, Wish("factory-reset", confirm=house.device.name))
    Command.objects.filter(pk=command.pk).update(confirm="yes")
    signer_at_work(house)
    assert (fresh(command).state, command.code) == ("refused", "command.not-confirmed")


def forged(house: House, **values: Any) -> Command:
    """Write a command as a web or worker process that was taken over could: as if it had been decided already."""
    now = timezone.now()
    usual = {"verb": "reboot", "by": house.owner, "by_name": house.owner.email, "state": "queued"}
    usual |= {"at": now, "expires_at": now + timedelta(hours=1)}
    made: Command = Command.objects.create(project=house.project, device=house.device, **(usual | values))
    return made


@pytest.mark.threat("web-process-ceilings")
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"by": None, "by_name": "nobody"}, "signer.not-entitled"),
        ({"verb": "factory-reset", "confirm": "yes"}, "command.not-confirmed"),
        ({"arguments": {"text": "x" * 5000}}, "command.too-large"),
    ],
)
def test_command_when_it_is_written_as_if_decided_then_the_signer_judges_it_all_the_same(
    house: House, values: dict[str, Any], code: str
) -> None:
    """Who can write the table cannot have anything signed that the signer would refuse; what waits behind it is told."""
    can_all(house)
    command = forged(house, **values)
    honest = asked(house)
    signer_at_work(house)
    assert (fresh(command).state, command.code) == ("refused", code)
    signer_at_work(house)
    assert fresh(honest).state == "ordered"
    assert [message_of(one).body.command for one in Order.objects.all()] == [honest.pk]  # type: ignore[union-attr]
    assert Pending.objects.filter(verb="command.refused", data__command=command.pk).count() == 1


def test_command_when_it_is_written_as_if_decided_with_a_year_then_a_week_is_signed(house: House) -> None:
    """The ceiling holds for it, too."""
    can_all(house)
    command = forged(house, expires_at=timezone.now() + timedelta(days=365))
    signer_at_work(house)
    body = message_of(Order.objects.get()).body
    assert isinstance(body, RunCommand)
    assert body.expires_at <= (timezone.now() + timedelta(days=7)).timestamp() * 1000
    assert fresh(command).expires_at <= timezone.now() + timedelta(days=7)


def test_command_when_the_asker_lost_the_right_while_it_waited_then_it_is_refused_before_it_is_told(
    house: House,
) -> None:
    """The role counts as it is when the order is signed, also a week after the asking."""
    can_all(house, presence="away")
    admin = User.objects.create_user("admin@example.com")
    member = Member.objects.create(project=house.project, user=admin, role="admin")
    command = asked(replace(house, owner=admin), Wish("reboot"))
    signer_at_work(house)
    assert fresh(command).state == "queued"
    member.delete()
    can_all(house)
    signer_at_work(house)
    assert (fresh(command).state, command.code, Order.objects.count()) == ("refused", "signer.not-entitled", 0)


def test_command_when_web_claims_a_year_then_the_signer_signs_a_week(house: House) -> None:
    """No command waits longer than the ceiling."""
    can_all(house)
    command = asked(house)
    Command.objects.filter(pk=command.pk).update(expires_at=timezone.now() + timedelta(days=365))
    signer_at_work(house)
    body = message_of(Order.objects.get()).body
    assert isinstance(body, RunCommand)
    assert body.expires_at <= (timezone.now() + timedelta(days=7)).timestamp() * 1000
    assert fresh(command).expires_at <= timezone.now() + timedelta(days=7)


def test_commands_when_a_week_away_brought_fifty_then_the_next_is_refused_and_all_fifty_come_in_their_order(
    house: House,
) -> None:
    """A device that comes back after a week does what was asked meanwhile, once each."""
    can_all(house, presence="away")
    commands = [asked(house) for _ in range(51)]
    signer_at_work(house)
    assert (fresh(commands[50]).state, commands[50].code) == ("refused", "command.too-many")
    can_all(house)
    for command in commands[:50]:
        signer_at_work(house)
        assert Desired.objects.get(part="command").command_id == command.pk
        done(house, command)
    assert Command.objects.filter(state="done").count() == 50


def test_device_when_blocked_then_whatever_waited_for_it_is_gone(house: House) -> None:
    """Nothing that was asked before comes true after an unblocking weeks later."""
    can_all(house)
    told, queued = asked(house), asked(house)
    signer_at_work(house)
    blocking.block(house.device, house.owner, "")
    assert {(fresh(one).state, one.code) for one in (told, queued)} == {("cancelled", "signer.blocked")}
    assert send(house) == []
    with pytest.raises(NotAsked):
        asked(house)
    blocking.unblock(house.device, house.owner, "")
    signer_at_work(house)
    assert ask_where_due(timezone.now()) == 0


def test_device_when_it_refuses_the_order_for_good_then_the_command_failed_and_the_next_is_told(house: House) -> None:
    """Its own word says why."""
    can_all(house)
    first, second = asked(house), asked(house)
    signer_at_work(house)
    send(house)
    order = Order.objects.get().pk
    assert hear(house, "order.refused", part="command", order=order, code="order.stale-nonce") == 0
    assert hear(house, "order.refused", part="command", order=order, code="order.not-allowed") == 1
    assert (fresh(first).state, first.code) == ("failed", "order.not-allowed")
    signer_at_work(house)
    assert fresh(second).state == "ordered"


def test_record_when_another_device_speaks_of_a_command_then_nothing_is_believed(house: House) -> None:
    """A device's word counts for its own commands alone."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    other = make_house("elsewhere")
    assert done(other, command) == 0
    assert fresh(command).state == "ordered"


def test_batch_when_asked_then_each_device_is_decided_by_itself_and_stop_ends_what_has_not_begun(house: House) -> None:
    """One cannot, one is away, one is at work: each has its own result, and what has begun goes on."""
    can_all(house)
    here = {"state": "joined", "joined_at": timezone.now(), "seen_at": timezone.now(), "nonce": "n" * 22}
    here |= {"project": house.project, "runner_nonce": "r" * 22, "presence": "connected"}
    lame = Device.objects.create(name="press 2", verbs=[], **here)
    away = Device.objects.create(name="press 3", verbs=["message"], **here | {"presence": "away"})
    batch = ask_commands(house.project, [house.device, lame, away], HELLO, who_of(house))
    signer_at_work(house)
    states = dict(Command.objects.filter(batch=batch).values_list("device_id", "state"))
    assert states == {house.device.pk: "ordered", lame.pk: "refused", away.pk: "queued"}
    holds(house)
    assert stop(batch, who_of(house)) == 1
    assert stop(batch, who_of(house)) == 0
    states = dict(Command.objects.filter(batch=batch).values_list("device_id", "state"))
    assert states == {house.device.pk: "begun", lame.pk: "refused", away.pk: "cancelled"}
    batch.refresh_from_db()
    assert batch.stopped_by_name == house.owner.email


@pytest.mark.parametrize(("typed", "is_asked"), [("press 1", False), ("plant", True)])
def test_batch_when_it_cannot_be_taken_back_then_the_projects_name_confirms_it(
    house: House, typed: str, *, is_asked: bool
) -> None:
    """One device's name says nothing about all the others."""
    can_all(house)
    wish = Wish("shutdown", confirm=typed)
    if not is_asked:
        with pytest.raises(NotAsked):
            ask_commands(house.project, [house.device], wish, who_of(house))
        return
    ask_commands(house.project, [house.device], wish, who_of(house))
    signer_at_work(house)
    assert Command.objects.get().state == "ordered"


@pytest.mark.real("postgres")
def test_commands_when_people_ask_cancel_and_two_signers_tell_at_once_then_each_is_told_once(
    on_postgres: str, django_db_blocker: Any
) -> None:
    """Two signers and a person who cancels: no revision is given out twice, and what was cancelled is not told."""
    with django_db_blocker.unblock():
        house = make_house()
        can_all(house)
        signer_at_work(house)
        at_once(lambda: asked(house), 4)
        at_once(lambda: signer_at_work(house), 3)
        assert Command.objects.filter(state="ordered").count() == 1
        assert Order.objects.count() == 1
        assert Pending.objects.filter(verb="command.ordered").count() == 1
        told = Command.objects.get(state="ordered")
        cancelled = sum(at_once(lambda: _is_cancelled(told, who_of(house)), 3))
        assert cancelled == 1
        sent = at_once(lambda: len(send(house)), 3)
        assert sum(sent) == 0
        at_once(lambda: signer_at_work(house), 3)
        assert sorted(at_once(lambda: len(send(house)), 3)) == [0, 0, 1]


def _is_cancelled(command: Command, who: Who) -> bool:
    try:
        cancel(command, who)
    except NotAsked:
        return False
    return True
