"""A command that is sent twice, by a double click or because its answer was lost, is asked once: of one device and of several."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from django.urls import reverse
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands.asking import Wish, ask_command, ask_commands
from doorward_console.maintenance.models import Batch, Command
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User

from tests.console.commanding import HELLO, can_all, who_of
from tests.console.conftest import House, make_house
from tests.console.test_api import token_of
from tests.console.visiting import ask, client_of

pytestmark = pytest.mark.feature("I11")
ONCE = replace(HELLO, mark="once")


def asked_once() -> bool:
    lines = Pending.objects.filter(verb="commands.asked").count()
    return (Batch.objects.count(), Command.objects.count(), lines) == (1, 1, 1)


def post(house: House, key: str, **asked: object) -> tuple[int, str]:
    """Ask several over the API; gives the status, and the batch's id or the reason code."""
    return sent_to(house, f"projects/{house.project.pk}", key, {"devices": [house.device.pk]} | asked)


def post_one(house: House, key: str, **asked: object) -> tuple[int, str]:
    """Ask the house's device over the API; gives the status, and the command's id or the reason code."""
    return sent_to(house, f"devices/{house.device.pk}", key, asked)


def sent_to(house: House, whom: str, key: str, asked: dict[str, Any]) -> tuple[int, str]:
    where = f"/api/v1/{whom}/commands"
    body = {"verb": "message", "arguments": {"text": "hello"}} | asked
    headers = {"authorization": f"Bearer {token_of(house.owner)}", "idempotency-key": key}
    given = client_of(house.owner).post(where, body, "application/json", secure=True, headers=headers)
    said = given.json()
    return given.status_code, str(said.get("id") or said.get("code"))


def test_batch_when_its_page_is_sent_twice_then_it_is_asked_once_and_both_lead_to_it(house: House) -> None:
    """Each page that is about to ask has a mark of its own: the same page again is the same wish, a new page a new one."""
    can_all(house)
    client, given = client_of(house.owner), {"device": house.device.pk, "text": "hello"}
    kwargs = {"project_id": house.project.pk, "verb": "message"}

    def mark() -> str:
        page = ask(client, "POST", reverse("batch-choose", kwargs=kwargs), device=house.device.pk).content.decode()
        found = re.search(r'name="mark" value="([\w-]{20,})"', page)
        assert found is not None
        return found[1]

    first = mark()
    sent = [ask(client, "POST", reverse("batch-ask", kwargs=kwargs), mark=first, **given) for _ in range(2)]
    assert [one.status_code for one in sent] == [302, 302]
    assert sent[0].url == sent[1].url
    assert asked_once()
    ask(client, "POST", reverse("batch-ask", kwargs=kwargs), mark=mark(), **given)
    assert Batch.objects.count() == 2


def test_batch_when_a_program_sends_its_key_again_then_it_is_given_the_batch_that_there_is(house: House) -> None:
    """A request whose answer was lost is sent again without fear; without a key, and under another, it is another wish."""
    can_all(house)
    status, batch = post(house, "key-1")
    assert (status, post(house, "key-1")) == (202, (202, batch))
    assert asked_once()
    assert post(house, "key-2")[1] != batch
    assert post(house, "")[1] != post(house, "")[1]
    assert Batch.objects.count() == 4
    assert Command.objects.count() == 4


@pytest.mark.parametrize("how", ["verb", "arguments", "reason", "devices"])
def test_batch_when_its_key_was_another_wishs_then_nothing_is_asked_and_that_is_said(house: House, how: str) -> None:
    """Nobody takes the answer to one question for the answer to another."""
    can_all(house)
    other = Device.objects.create(project=house.project, name="press 2", state="joined")
    changed = {"verb": "health", "arguments": {"text": "bye"}, "reason": "ticket 1", "devices": [other.pk]}
    post(house, "key-1")
    assert post(house, "key-1", **{how: changed[how]}) == (409, "command.asked-otherwise")
    assert asked_once()


def test_batch_when_its_filter_finds_others_by_then_then_it_is_the_same_wish(house: House) -> None:
    """A device that joins between sending and sending again makes no other question of it."""
    can_all(house)
    status, batch = post(house, "key-1", devices=None, filter={"q": ""})
    Device.objects.create(project=house.project, name="press 2", state="joined")
    assert (status, post(house, "key-1", devices=None, filter={"q": ""})) == (202, (202, batch))
    assert asked_once()


def test_batch_when_another_person_has_the_same_mark_then_each_has_their_own(house: House) -> None:
    """Marks are a person's own: nobody can use up, or see, another's."""
    can_all(house)
    other = User.objects.create_user("other@example.com")
    Member.objects.create(project=house.project, user=other, role="admin")
    mine = ask_commands(house.project, [house.device], ONCE, who_of(house))
    theirs = ask_commands(house.project, [house.device], ONCE, Who(other, "203.0.113.8"))
    assert mine.pk != theirs.pk


def several(house: House, wish: Wish) -> object:
    return ask_commands(house.project, [house.device], wish, who_of(house))


def one(house: House, wish: Wish) -> object:
    return ask_command(house.device, wish, who_of(house))


@pytest.mark.parametrize("asking", [several, one])
def test_wish_when_asked_twice_at_the_same_moment_on_sqlite_then_once(
    house: House, asking: Callable[[House, Wish], object]
) -> None:
    """The database decides which of two requests is the first."""
    both_at_once(house, asking)


@pytest.mark.real("postgres")
@pytest.mark.parametrize("asking", [several, one])
def test_wish_when_asked_twice_at_the_same_moment_on_postgres_then_once(
    on_postgres: str, asking: Callable[[House, Wish], object]
) -> None:
    """The same with two real connections to PostgreSQL."""
    both_at_once(make_house(), asking)


def both_at_once(house: House, asking: Callable[[House, Wish], object], times: int = 10) -> None:
    can_all(house)
    start, faults = threading.Barrier(2), list[BaseException]()

    def click(wish: Wish) -> None:
        try:
            start.wait(20)
            asking(house, wish)
        except BaseException as error:  # noqa: BLE001  # the thread's root: the test looks at it
            faults.append(error)
        finally:
            connections["default"].close()

    for n in range(times):
        clicks = [threading.Thread(target=click, args=(replace(HELLO, mark=f"m{n}"),)) for _ in range(2)]
        for thread in clicks:
            thread.start()
        for thread in clicks:
            thread.join(20)
    lines = Pending.objects.filter(verb="command.asked").count()
    assert (faults, Command.objects.count(), lines) == ([], times, times)
    assert Batch.objects.count() in {0, times}


def test_batch_when_the_same_wish_has_no_mark_then_nothing_is_held_against_it(house: House) -> None:
    """Who gives no mark may ask the same twice, as ever."""
    can_all(house)
    for _ in range(2):
        ask_commands(house.project, [house.device], HELLO, who_of(house))
    with pytest.raises(NotAsked):
        ask_commands(house.project, [house.device], replace(HELLO, verb="nothing", mark="x"), who_of(house))
    assert Batch.objects.count() == 2


@pytest.mark.parametrize("key", ["k" * 64, "k" * 65])
@pytest.mark.parametrize("way", [post, post_one])
def test_key_when_it_is_longer_than_is_kept_then_refused_at_once(
    house: House, way: Callable[[House, str], tuple[int, str]], key: str
) -> None:
    """A key that would be cut off could be another's: 64 characters are taken, one more is the sender's mistake."""
    can_all(house)
    is_taken = len(key) <= 64
    assert way(house, key)[0] == (202 if is_taken else 422)
    assert Command.objects.count() == int(is_taken)


def test_command_when_a_program_sends_its_key_again_then_it_is_given_the_command_that_there_is(house: House) -> None:
    """Also when the device could not be asked any more by then: it was, and this says how it fares."""
    can_all(house)
    status, command = post_one(house, "key-1")
    assert (status, post_one(house, "key-1")) == (202, (202, command))
    can_all(house, verbs=[])
    assert post_one(house, "key-1") == (202, command)
    assert post_one(house, "key-2") == (409, "hook.missing")
    assert Pending.objects.filter(verb="command.asked").count() == 1
    can_all(house)
    assert len({post_one(house, key)[1] for key in ("key-1", "key-3", "", "")}) == 4


@pytest.mark.parametrize("how", ["verb", "arguments", "reason"])
def test_command_when_its_key_was_another_wishs_then_nothing_is_asked_and_that_is_said(house: House, how: str) -> None:
    """Nobody takes the answer to one question for the answer to another."""
    can_all(house)
    changed = {"verb": "health", "arguments": {"text": "bye"}, "reason": "ticket 1"}
    post_one(house, "key-1")
    assert post_one(house, "key-1", **{how: changed[how]}) == (409, "command.asked-otherwise")
    assert Command.objects.count() == 1


def test_command_when_another_person_or_another_device_has_the_same_mark_then_each_has_its_own(house: House) -> None:
    """A program may use its key for each device, and nobody can use up, or see, another's."""
    can_all(house)
    other = User.objects.create_user("other@example.com")
    Member.objects.create(project=house.project, user=other, role="admin")
    press = Device.objects.create(project=house.project, name="press 2", state="joined")
    asked = [
        ask_command(house.device, ONCE, who_of(house)),
        ask_command(house.device, ONCE, Who(other, "203.0.113.8")),
        ask_command(press, ONCE, who_of(house)),
        *ask_commands(house.project, [house.device, press], ONCE, who_of(house)).commands.all(),
    ]
    assert len({one.pk for one in asked}) == 5


def test_dialog_when_its_form_is_sent_twice_then_it_is_asked_once_and_each_answer_brings_a_new_mark(
    house: House,
) -> None:
    """The mark is the dialog's until the server has answered; the next wish of the same dialog is another."""
    can_all(house)
    client = client_of(house.owner)
    kwargs = {"project_id": house.project.pk, "device_id": house.device.pk}
    page = client.get(reverse("device", kwargs=kwargs), secure=True).content.decode()
    marks = re.findall(r'name="mark" id="mark-([\w-]+)" value="([\w-]{20,})"', page)
    assert len(marks) > 5
    assert len({mark for _, mark in marks}) == len(marks)

    def send(mark: str) -> str:
        given, htmx = {"mark": mark, "text": "hello"}, {"HX-Request": "true"}
        where = reverse("command-ask", kwargs=kwargs | {"verb": "message"})
        answer = client.post(where, given, secure=True, headers=htmx).content.decode()
        found = re.search(r'id="mark-message" value="([\w-]{20,})" autocomplete="off" hx-swap-oob="true"', answer)
        assert found is not None
        return found[1]

    first = dict(marks)["message"]
    second = send(first)
    assert send(first) not in (first, second)
    assert Command.objects.count() == 1
    send(second)
    assert Command.objects.count() == 2
