"""A command for several devices that is sent twice, by a double click or because its answer was lost, is asked once."""

import re
import threading
from dataclasses import replace

import pytest
from django.db import connections
from django.urls import reverse
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.commands.asking import Wish, ask_commands
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
    """Ask over the API; gives the status, and the batch's id or the reason code."""
    where = f"/api/v1/projects/{house.project.pk}/commands"
    body = {"verb": "message", "arguments": {"text": "hello"}, "devices": [house.device.pk]} | asked
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
    assert post(house, "x" * 65)[0] == 422


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


def test_batch_when_asked_twice_at_the_same_moment_on_sqlite_then_once(house: House) -> None:
    """The database decides which of two requests is the first."""
    both_at_once(house)


@pytest.mark.real("postgres")
def test_batch_when_asked_twice_at_the_same_moment_on_postgres_then_once(on_postgres: str) -> None:
    """The same with two real connections to PostgreSQL."""
    both_at_once(make_house())


def both_at_once(house: House, times: int = 10) -> None:
    can_all(house)
    start, faults = threading.Barrier(2), list[BaseException]()

    def click(wish: Wish) -> None:
        try:
            start.wait(20)
            ask_commands(house.project, [house.device], wish, who_of(house))
        except BaseException as error:  # noqa: BLE001  # the thread's root: the test looks at it
            faults.append(error)
        finally:
            connections["default"].close()

    for n in range(times):
        clicks = [threading.Thread(target=click, args=(replace(HELLO, mark=f"m{n}"),)) for _ in range(2)]
        for one in clicks:
            one.start()
        for one in clicks:
            one.join(20)
    assert (faults, Batch.objects.count(), Command.objects.count()) == ([], times, times)


def test_batch_when_the_same_wish_has_no_mark_then_nothing_is_held_against_it(house: House) -> None:
    """Who gives no mark may ask the same twice, as ever."""
    can_all(house)
    for _ in range(2):
        ask_commands(house.project, [house.device], HELLO, who_of(house))
    with pytest.raises(NotAsked):
        ask_commands(house.project, [house.device], replace(HELLO, verb="nothing", mark="x"), who_of(house))
    assert Batch.objects.count() == 2
