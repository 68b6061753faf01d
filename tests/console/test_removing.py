"""Removing a device: confirmed by its name, everything of it ended, its port free, and its history readable."""

from typing import Any

import pytest
from django.utils import timezone
from doorward_console.declined import Declined
from doorward_console.fleet.changing import new_join_line, set_way
from doorward_console.fleet.models import Device, Forward, JoinToken
from doorward_console.history.models import Pending
from doorward_console.maintenance.asking import turn_on
from doorward_console.maintenance.blocking import unblock
from doorward_console.maintenance.commands.promoting import undecided_commands
from doorward_console.maintenance.models import Command, Intent, Order, Session
from doorward_console.maintenance.removing import remove_device
from doorward_console.people.models import Member, User

from tests.console.commanding import asked, can_all, fresh, signer_at_work, who_of
from tests.console.conftest import FOLDER, House, make_house
from tests.console.test_api import call, token_of
from tests.console.test_asking import HERE, live
from tests.console.test_inbox import at_once
from tests.console.test_signing import decided, new_signer
from tests.console.visiting import address, address_of, ask, client_of
from tests.parts.certificates import make_root
from tests.parts.files import write_whole


def remove(house: House, confirm: str = "press 1") -> None:
    remove_device(house.device, confirm, who_of(house))


@pytest.mark.feature("I11")
@pytest.mark.parametrize("typed", ["", "Press 1", "press 1 ", "plant"])
def test_device_when_another_name_is_typed_then_it_stays_as_it_is(house: House, typed: str) -> None:
    """Only its exact name confirms it, on the page (which forgives a space at the end), over the API, and beneath both."""
    live(house)
    with pytest.raises(Declined) as declined:
        remove(house, typed)
    assert (declined.value.code, "press 1" in declined.value.next) == ("device.not-confirmed", True)
    answer = call(token_of(house.owner), "DELETE", f"/devices/{house.device.pk}", confirm=typed)
    assert (answer.status_code, answer.json()["code"]) == (409, "device.not-confirmed")
    if typed.strip() != "press 1":
        page = client_of(house.owner).post(
            address("device-remove", house), {"confirm": typed}, secure=True, follow=True
        )
        assert "Type it exactly as it stands on its page: press 1" in page.content.decode()
    row = Device.objects.get(pk=house.device.pk)
    assert (row.state, row.removed_at, row.relay_port, row.name) == ("joined", None, 22001, "press 1")
    assert Session.objects.get().state == "open"
    assert not Pending.objects.filter(verb="device.removed").exists()


@pytest.mark.feature("I11")
@pytest.mark.parametrize("way", ["page", "api"])
def test_device_when_its_name_is_typed_then_its_session_ends_and_it_is_shown_no_more(house: House, way: str) -> None:
    """Blocked for good; the open session is closing by whoever removed it, and nothing waits for the device."""
    can_all(house)
    session, told, queued = live(house), asked(house), asked(house)
    signer_at_work(house)
    undecided = asked(house)
    if way == "page":
        client_of(house.owner).post(address("device-remove", house), {"confirm": "press 1"}, secure=True)
    else:
        assert (
            call(token_of(house.owner), "DELETE", f"/devices/{house.device.pk}", confirm="press 1").status_code == 204
        )
    session.refresh_from_db()
    assert (session.state, session.code) == ("closing", "session.device-removed")
    assert session.closed_by_name == house.owner.email
    states = {(fresh(one).state, one.code, one.ended_by_name) for one in (told, queued, undecided)}
    assert states == {("cancelled", "command.device-removed", house.owner.email)}
    assert undecided_commands() == []
    row = Device.objects.get(pk=house.device.pk)
    assert (row.state, row.removed_at is None) == ("blocked", False)
    assert ask(client_of(house.owner), "GET", address("device", house)).status_code == 404
    line = Pending.objects.get(verb="device.removed")
    assert (line.session, line.data["name"], line.data["by"]) == (session.pk, "press 1", house.owner.email)


def test_device_when_removed_while_an_on_waits_then_it_never_opens(house: House) -> None:
    """What nobody has decided about is refused with the removal's word, also where the signer comes a moment later."""
    intent = turn_on(house.device, house.owner, HERE, 600)
    assert isinstance(intent, Intent)
    remove(house)
    decided(new_signer(), intent)
    assert (intent.state, intent.code) == ("refused", "session.device-removed")
    assert not Session.objects.exists()


def test_device_when_removed_while_a_door_order_waits_then_it_is_dropped(house: House) -> None:
    """An order to open that is signed and not sent yet never goes out."""
    live(house)
    order = Order.objects.create(device=house.device, part="door", nonce="n" * 22, state="signed", envelope=b"x")
    remove(house)
    order.refresh_from_db()
    assert order.state == "dropped"


def test_port_when_its_device_is_removed_then_another_may_have_it_and_opens_once_the_old_session_has_closed(
    house: House,
) -> None:
    """The port is free at once; it is given to no other session while the old one may still listen there."""
    session = live(house)
    remove(house)
    other = Device.objects.create(
        project=house.project,
        name="press 1",
        state="joined",
        joined_at=timezone.now(),
        tunnel_key=house.device.tunnel_key,
    )
    set_way(other, house.relay, 22001, "*", who_of(house))
    signer = new_signer()
    first, second = (_on(other, house) for _ in range(2))
    assert decided(signer, first).code == "signer.port-taken"
    Session.objects.filter(pk=session.pk).update(state="closed", closed_at=timezone.now())
    second = _on(other, house)
    assert (decided(signer, second).state, second.code) == ("done", "")


def _on(device: Device, house: House) -> Intent:
    intent = turn_on(device, house.owner, HERE, 600, "ticket")
    assert isinstance(intent, Intent)
    return intent


def test_history_when_its_device_is_removed_then_every_line_is_there_under_its_name(house: House) -> None:
    """What was done on it, and that it was removed, is read on the history's page and over the API."""
    can_all(house)
    asked(house, reason="ticket 4711")
    remove(house)
    page = ask(client_of(house.owner), "GET", address_of("history", house.project)).content.decode()
    assert "The device was removed" in page
    assert "ticket 4711" in page
    assert page.count("press 1 (removed d-") >= 2
    lines = call(token_of(house.owner), "GET", f"/projects/{house.project.id}/history", device=house.device.pk).json()
    verbs = {line["verb"] for line in lines["lines"]}
    assert {"command.asked", "command.cancelled", "device.removed"} <= verbs


@pytest.mark.feature("R6")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), None),
        (("mail",), "Its named forward mail goes too, and so does its relay port."),
        (("web", "db"), "Its named forwards db, web go too, and so do their relay ports."),
    ],
)
def test_device_when_it_is_about_to_be_removed_then_the_question_names_what_goes_with_it(
    house: House, names: tuple[str, ...], said: str | None
) -> None:
    """Whoever types its name knows that its forwards are gone with it."""
    for number, name in enumerate(names):
        target, port = f"tcp:{name}:80", 22_050 + number
        Forward.objects.create(device=house.device, name=name, target=target, relay=house.relay, port=port)
    page = " ".join(ask(client_of(house.owner), "GET", address("device", house)).content.decode().split())
    question = page.partition('id="remove-title"')[2].partition("</p>")[0]
    assert ("named forward" in question) == (said is not None), question
    assert said is None or said in question


def test_device_when_removed_then_a_join_line_that_was_made_for_it_is_void(house: House) -> None:
    """Whoever kept the line cannot bring the device back with it."""
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    new_join_line(house.device, who_of(house))
    remove(house)
    assert not JoinToken.objects.filter(expires_at__gt=timezone.now()).exists()


def test_device_when_one_removes_it_and_another_unblocks_it_then_it_stays_removed(house: House) -> None:
    """Whoever had its page open before cannot take the removal back, nor remove it twice."""
    stale = Device.objects.select_related("project").get(pk=house.device.pk)
    again = Device.objects.select_related("project").get(pk=house.device.pk)
    remove(house)
    unblock(stale, house.owner, HERE)
    remove_device(again, "press 1", who_of(house))
    row = Device.objects.get(pk=house.device.pk)
    assert (row.state, row.name) == ("blocked", f"press 1 (removed {row.pk})")
    assert Pending.objects.filter(verb="device.removed").count() == 1
    assert not Pending.objects.filter(verb="device.unblocked").exists()


@pytest.mark.threat("lesser-role")
@pytest.mark.parametrize("role", ["viewer", "engineer"])
def test_device_when_a_lesser_role_types_its_name_then_nothing_happens(house: House, role: str) -> None:
    """Knowing the name is no right."""
    user = User.objects.create_user("some@example.com")
    Member.objects.create(project=house.project, user=user, role=role)
    assert call(token_of(user), "DELETE", f"/devices/{house.device.pk}", confirm="press 1").status_code == 403
    assert Device.objects.get(pk=house.device.pk).removed_at is None


@pytest.mark.real("postgres")
def test_device_when_two_remove_it_at_once_then_it_is_written_down_once(
    on_postgres: str, django_db_blocker: Any
) -> None:
    """The row is held: the second sees that it is gone already."""
    with django_db_blocker.unblock():
        house = make_house()
        live(house)
        at_once(
            lambda: remove_device(
                Device.objects.select_related("project").get(name="press 1"), "press 1", who_of(house)
            ),
            2,
        )
        assert Pending.objects.filter(verb="device.removed").count() == 1
        assert not Command.objects.exists()
