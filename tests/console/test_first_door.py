"""The list that leads from an empty project to the first green toggle: derived, never stored, and true for each role."""

import re
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from doorward_console.fleet.models import Device, Relay
from doorward_console.keys.models import EngineerPair
from doorward_console.people.models import Member, Project, User

from tests.console.conftest import ED25519_LINE, House, make_house
from tests.console.visiting import address, address_of, ask, client_of, open_session


@pytest.fixture
def project(db: None) -> Project:
    """A project as init makes it: an owner, and nothing else."""
    cache.clear()
    made: Project = Project.objects.create(name="plant")
    person(made, "owner")
    return made


def person(project: Project, role: str) -> User:
    user: User = User.objects.create_user(f"{role}@example.com")
    Member.objects.create(project=project, user=user, role=role)
    return user


def page(project: Project, role: str = "owner", name: str = "devices") -> str:
    """Give a page of the project as a member of that role sees it."""
    user = User.objects.get(email=f"{role}@example.com")
    return unescape(ask(client_of(user), "GET", address_of(name, project)).content.decode())


def states(text: str) -> list[str]:
    """Read the states of the steps, in order."""
    return re.findall(r'<li class="(done|next|later)"', text)


def add_relay(project: Project) -> Relay:
    made: Relay = Relay.objects.create(project=project, name="relay", host="relay.example.com", low_port=20_000, high_port=20_001)  # fmt: skip
    return made


def add_pair(project: Project) -> None:
    EngineerPair.objects.create(project=project, public_key=ED25519_LINE)


def add_device(project: Project, **given: Any) -> Device:
    made: Device = Device.objects.create(project=project, name="press 1", **given)
    return made


def test_list_when_the_project_is_empty_then_the_relay_is_next_and_its_button_leads_there(project: Project) -> None:
    """Where the owner lands stands one prominent step, and it is a link to the page where it is done."""
    text = page(project)
    assert states(text) == ["next", "later", "later", "later"]
    assert text.count('aria-current="step"') == 1
    assert f'href="{address_of("relays", project)}#pair"' in text


def test_list_when_steps_are_done_and_undone_then_it_says_what_is(project: Project) -> None:
    """Nothing is stored: what is taken away again is not done any more."""
    relay = add_relay(project)
    assert states(page(project)) == ["done", "next", "later", "later"]
    add_pair(project)
    text = page(project)
    assert states(text) == ["done", "done", "next", "later"]
    assert text.count('data-dialog="add-device"') == 1
    device = add_device(project)
    assert "press 1 has no relay and port yet" in page(project)
    Device.objects.update(relay=relay, relay_port=20_000)
    assert "press 1 waits for its join line" in page(project)
    Device.objects.update(state="joined")
    text = page(project)
    assert states(text) == ["done", "done", "done", "next"]
    assert f"/devices/{device.id}/#door-live" in text
    relay.removed_at = timezone.now()
    relay.save()
    assert states(page(project))[0] == "next"


def test_list_when_a_door_has_been_open_then_it_is_gone_from_every_page(db: None) -> None:
    """Whoever has seen green needs no list; an opening that never answered is not one."""
    cache.clear()
    house = make_house()
    session = open_session(house, state="failed", code="relay.unreachable", opened_at=None, closed_at=timezone.now())
    client = client_of(house.owner)
    assert b"The first open door" in ask(client, "GET", address("devices", house)).content
    session.opened_at = timezone.now()
    session.save()
    for name in ("devices", "device", "relays", "relay", "keys", "history", "members", "settings"):
        assert b"The first open door" not in ask(client, "GET", address(name, house)).content


@pytest.mark.parametrize(
    ("role", "has_relay", "said"),
    [
        ("admin", False, None),
        ("engineer", False, "In this project that is for its owner and its admins"),
        ("viewer", False, "In this project that is for its owner and its admins"),
        ("admin", True, "In this project that is for its owner."),
    ],
)
def test_list_when_a_step_is_not_for_ones_role_then_it_says_whose_it_is(
    project: Project, role: str, said: str | None, *, has_relay: bool
) -> None:
    """Nobody is led to a page that would refuse them; they read whom to ask."""
    person(project, role)
    if has_relay:
        add_relay(project)
    text = page(project, role)
    step = text[text.index('<ol class="first-steps">') : text.index("</ol>")]
    assert ("In this project that is for" in step) is (said is not None)
    assert said is None or said in step
    assert ('class="button"' in step) is (said is None)


@pytest.mark.parametrize(
    ("name", "for_what"),
    [
        ("devices", "an engineer who logs in"),
        ("relays", "A relay is a machine that devices and engineers can both reach"),
        ("keys", "Without it nobody could log in"),
        ("history", "Every opening and every change is written here"),
        ("members", "Who belongs to this project"),
        ("settings", "The rules of this project"),
    ],
)
def test_empty_page_says_what_it_is_for_and_offers_the_next_step(project: Project, name: str, for_what: str) -> None:
    """Wherever one looks first, one is told what the page is for and where to go on."""
    text = page(project, name=name)
    assert for_what in text
    assert f'href="{address_of("relays", project)}#pair"' in text


def test_tokens_page_when_there_is_none_then_it_says_what_one_is_for(project: Project) -> None:
    """The one page that belongs to no project says so much for itself."""
    user = User.objects.get(email="owner@example.com")
    text = ask(client_of(user), "GET", "/tokens/").content.decode()
    assert "With a token a program asks in your name" in text
    assert "You have none yet" in text


def test_projects_page_when_one_is_in_none_then_it_says_who_can_add_one(project: Project) -> None:
    """Whoever has an account and nothing to see reads whom to ask, and for which address."""
    stranger = User.objects.create_user("new@example.com")
    text = ask(client_of(stranger), "GET", "/projects/").content.decode()
    assert project.name not in text
    assert "owner adds people by their mail address; yours is new@example.com" in text


def test_relays_page_when_one_is_to_be_added_then_each_kind_says_what_it_gives_and_cannot(project: Project) -> None:
    """Plain, managed, embedded: one reads the difference before one chooses, and the line to copy beside it."""
    text = page(project, name="relays")
    for kind in ("Managed", "Embedded", "Plain"):
        assert f"<dt>{kind}</dt>" in text
    assert 'data-copy="doorward-relay install --host relay.example.com"' in text
    assert 'data-copy="doorward-relay install --embedded --host relay.example.com && doorward-relay serve"' in text
    person(project, "viewer")
    assert "<dt>Plain</dt>" not in page(project, "viewer", "relays")


def test_way_when_there_is_one_relay_then_its_first_free_port_is_suggested(house: House) -> None:
    """A new device's form holds what would do; nothing is taken until it is saved, and a port in use is not suggested."""
    Relay.objects.update(low_port=22_001, high_port=22_002)
    second = add_second(house)
    text = device_page(house, second)
    assert 'value="22002"' in text
    assert "a suggestion, until you save it" in text
    second.refresh_from_db()
    assert second.relay_port is None
    Relay.objects.update(high_port=22_001)
    assert 'name="port" inputmode="numeric" pattern="[0-9]*" value=""' in device_page(house, second)


def add_second(house: House) -> Device:
    made: Device = Device.objects.create(project=house.project, name="press 2", state="added")
    return made


def device_page(house: House, device: Device) -> str:
    text: str = ask(client_of(house.owner), "GET", f"{address('devices', house)}{device.id}/").content.decode()
    return text
