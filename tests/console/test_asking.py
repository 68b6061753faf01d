"""What people ask for: who may, what is written down, and that shut wins."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from doorward_console.history.models import Pending
from doorward_console.identifiers import new_session_id
from doorward_console.maintenance.asker import NotAsked, NotEntitled
from doorward_console.maintenance.asking import extend, turn_off, turn_on
from doorward_console.maintenance.blocking import block, unblock
from doorward_console.maintenance.documents import asking as documents
from doorward_console.maintenance.models import Desired, Intent, Order, Session
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User

from tests.console.conftest import House, make_house

HERE = "203.0.113.7"


def live(house: House, state: str = "open") -> Session:
    """Write a session as the signer would have made it."""
    now = timezone.now()
    session: Session = Session.objects.create(
        id=new_session_id(), project=house.project, device=house.device, relay=house.relay, relay_port=22001, bind="*",
        login_user="remote-admin", state=state, asked_by=house.owner, asked_by_name=house.owner.email,
        requested_at=now, duration_s=600, ends_at=now + timedelta(seconds=600), banner="b" * 16,
    )  # fmt: skip
    Desired.objects.create(
        device=house.device, part="door", epoch=0, revision=1, body="{}", digest="sha256:", session=session
    )
    return session


def another_admin(house: House) -> User:
    other: User = User.objects.create_user("kofi@example.com", "a long password 2")
    Member.objects.create(project=house.project, user=other, role="admin")
    return other


def records(verb: str) -> list[dict[str, Any]]:
    return [one.data for one in Pending.objects.filter(verb=verb).order_by("id")]


def test_turn_on_when_entitled_then_intent_and_record_say_who_where_how_long_and_why(house: House) -> None:
    """The record names person, address, duration and reason, and the session that it will be."""
    intent = turn_on(house.device, house.owner, HERE, 900, "ticket 4711")
    assert isinstance(intent, Intent)
    written = Pending.objects.get(verb="session.on")
    assert written.data == {"by": house.owner.email, "from": HERE, "duration_s": 900, "reason": "ticket 4711"}
    assert (written.device, {"session": written.session}) == (house.device.id, intent.values)
    assert (intent.kind, intent.state, intent.duration_s) == ("on", "asked", 900)


def test_turn_on_when_no_duration_given_then_the_projects_own(house: House) -> None:
    """Without a duration the project's default counts."""
    intent = turn_on(house.device, house.owner, HERE)
    assert isinstance(intent, Intent)
    assert intent.duration_s == house.project.default_duration_s


@pytest.mark.parametrize("role", ["engineer", "viewer", None])
def test_asking_when_not_entitled_then_refused_and_nothing_happens(house: House, role: str | None) -> None:
    """Engineers, viewers and strangers cannot ask for anything."""
    other = User.objects.create_user("someone@example.com", "a long password 3")
    if role:
        Member.objects.create(project=house.project, user=other, role=role)
    acts: list[Callable[[], object]] = [
        lambda: turn_on(house.device, other, HERE),
        lambda: turn_off(house.device, other, HERE),
        lambda: extend(house.device, other, HERE),
        lambda: documents.ask(house.device, documents.Change({}), Who(other, HERE)),
        lambda: block(house.device, other, HERE),
        lambda: unblock(house.device, other, HERE),
    ]
    for act in acts:
        with pytest.raises(NotEntitled) as refused:
            act()
        assert refused.value.code == "signer.not-entitled"
    assert not Intent.objects.exists()
    assert not Pending.objects.exists()


def test_turn_on_when_live_already_then_that_session_and_its_own_record(house: House) -> None:
    """ON twice gives the live session back, makes no second one, and is written down all the same."""
    session = live(house)
    assert turn_on(house.device, house.owner, HERE, 60) == session
    assert not Intent.objects.exists()
    assert records("session.on")[0]["already"] == "open"


def test_turn_on_when_undecided_already_then_that_intent(house: House) -> None:
    """ON twice before the signer has looked gives the first intent back."""
    first = turn_on(house.device, house.owner, HERE, 60)
    assert turn_on(house.device, another_admin(house), HERE, 60) == first
    assert Intent.objects.count() == 1
    assert [one.get("already") for one in records("session.on")] == [None, "requested"]


def test_turn_on_when_project_needs_reason_then_refused_without_one(house: House) -> None:
    """A project may want a reason; white space is none."""
    house.project.needs_reason = True
    house.project.save()
    with pytest.raises(NotAsked) as refused:
        turn_on(house.device, house.owner, HERE, 60, "  ")
    assert refused.value.code == "ask.no-reason"


@pytest.mark.parametrize("duration_s", [0, -1, 31 * 86_400 + 1])
def test_turn_on_when_duration_out_of_range_then_refused(house: House, duration_s: int) -> None:
    """A duration that is none is refused before anything is written."""
    with pytest.raises(NotAsked) as refused:
        turn_on(house.device, house.owner, HERE, duration_s)
    assert refused.value.code == "ask.bad-duration"
    assert not Pending.objects.exists()


def test_turn_off_when_open_then_closing_without_the_signer(house: House) -> None:
    """OFF starts closing and drops orders that are not on their way, in its own transaction."""
    session = live(house)
    order = Order.objects.create(device=house.device, part="door", nonce="n", state="signed", envelope=b"x")
    assert turn_off(house.device, house.owner, HERE, "done") == session
    session.refresh_from_db()
    order.refresh_from_db()
    assert (session.state, session.code, session.closed_by_name) == ("closing", "session.turned-off", house.owner.email)
    assert order.state == "dropped"
    assert records("session.off") == [{"by": house.owner.email, "from": HERE, "reason": "done"}]


def test_turn_off_when_off_already_then_written_down_and_harmless(house: House) -> None:
    """OFF twice changes nothing the second time; both are in the history."""
    live(house)
    turn_off(house.device, house.owner, HERE)
    before = Session.objects.values().get()
    turn_off(house.device, house.owner, HERE)
    assert Session.objects.values().get() == before
    assert [one.get("already") for one in records("session.off")] == [None, "shut"]


def test_turn_off_when_nothing_was_ever_open_then_done_at_once(house: House) -> None:
    """OFF of a shut door asks nothing of the signer."""
    intent = turn_off(house.device, house.owner, HERE)
    assert isinstance(intent, Intent)
    assert intent.state == "done"


def test_turn_off_when_on_is_undecided_then_it_is_voided(house: House) -> None:
    """An ON that the signer has not seen yet is refused by the OFF that comes after it."""
    intent = turn_on(house.device, house.owner, HERE)
    turn_off(house.device, another_admin(house), HERE)
    intent.refresh_from_db()
    assert (intent.state, intent.code) == ("refused", "session.turned-off")


def test_turn_on_when_another_person_just_turned_off_then_shut_wins(house: House) -> None:
    """Of an OFF and an ON within a second by two people, shut wins whichever came first."""
    turn_off(house.device, another_admin(house), HERE)
    intent = turn_on(house.device, house.owner, HERE)
    assert isinstance(intent, Intent)
    assert (intent.state, intent.code) == ("refused", "session.turned-off")
    assert records("session.refused") == [{"code": "session.turned-off"}]


def test_turn_on_when_the_same_person_just_turned_off_then_asked(house: House) -> None:
    """One person who changes their mind is taken at the last word."""
    turn_off(house.device, house.owner, HERE)
    intent = turn_on(house.device, house.owner, HERE)
    assert intent.state == "asked"


def test_turn_on_when_another_turned_off_long_ago_then_asked(house: House) -> None:
    """After the instant has passed an ON counts again."""
    turn_off(house.device, another_admin(house), HERE)
    Intent.objects.update(at=timezone.now() - timedelta(seconds=2))
    assert turn_on(house.device, house.owner, HERE).state == "asked"


def both_at_once(house: House) -> list[BaseException]:
    """Let two people turn on and off at the same time, in threads; give what went wrong."""
    other, faults = another_admin(house), []
    start = threading.Barrier(2)

    def person(act: Callable[[], object]) -> None:
        try:
            start.wait(5)
            act()
        except BaseException as error:  # noqa: BLE001  # the thread's root: the test looks at it
            faults.append(error)
        finally:
            connections["default"].close()

    people = [
        threading.Thread(target=person, args=(lambda: turn_on(house.device, house.owner, HERE),)),
        threading.Thread(target=person, args=(lambda: turn_off(house.device, other, HERE),)),
    ]
    for one in people:
        one.start()
    for one in people:
        one.join(20)
    return faults


def test_on_and_off_when_at_once_on_sqlite_then_nothing_is_left_to_open(house: House) -> None:
    """Whoever's transaction comes first: no undecided ON is left."""
    assert both_at_once(house) == []
    assert not Intent.objects.filter(kind="on", state="asked").exists()
    assert {len(records("session.on")), len(records("session.off"))} == {1}


@pytest.mark.real("postgres")
def test_on_and_off_when_at_once_on_postgres_then_nothing_is_left_to_open(on_postgres: str) -> None:
    """The same with two real connections to PostgreSQL, which hold the device's row in turn."""
    house = make_house()
    assert both_at_once(house) == []
    assert not Intent.objects.filter(kind="on", state="asked").exists()
    assert {len(records("session.on")), len(records("session.off"))} == {1}


def test_extend_when_open_then_asked_and_when_shut_then_refused(house: House) -> None:
    """Only a session that is there can be made longer."""
    with pytest.raises(NotAsked) as refused:
        extend(house.device, house.owner, HERE, 600)
    assert refused.value.code == "ask.not-open"
    session = live(house)
    assert extend(house.device, house.owner, HERE, 600, "still at it").session == session
    assert records("session.extended")[0]["reason"] == "still at it"


def test_block_when_open_then_closing_and_on_is_void(house: House) -> None:
    """Blocking ends the session at once; unblocking gives the device its former state."""
    session = live(house)
    block(house.device, house.owner, HERE, "stolen")
    session.refresh_from_db()
    assert (session.state, session.code) == ("closing", "session.device-blocked")
    assert unblock(house.device, house.owner, HERE).state == "joined"


def test_ask_settings_when_too_large_then_refused(house: House) -> None:
    """Settings beyond 32 KiB never reach the signer; smaller ones do, and the record names places, not values."""
    with pytest.raises(NotAsked) as refused:
        documents.ask(house.device, documents.Change({"a": "x" * 33_000}), Who(house.owner, HERE))
    assert refused.value.code == "ask.settings-too-large"
    documents.ask(house.device, documents.Change({"wifi_password": "secret"}), Who(house.owner, HERE))
    assert records("settings.asked")[0]["paths"] == ["/wifi_password"]
