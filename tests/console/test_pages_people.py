"""What people see of members, rules and tokens."""

import pytest
from django.core.cache import cache
from django.test import Client
from doorward_console.history.models import Pending
from doorward_console.people.models import ApiToken, Member, User

from tests.console.conftest import House, make_house
from tests.console.visiting import address, ask, client_of, dump_of_database


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction: quick, for what need not commit."""
    cache.clear()  # attempts at signing in are counted there
    return make_house()


@pytest.fixture
def committed(transactional_db: None) -> House:
    """A house that is really in the database's file."""
    cache.clear()
    return make_house()


@pytest.mark.parametrize("role", ["admin", "remove"])
def test_last_owner_cannot_be_lost(house: House, role: str) -> None:
    """A project has at least one owner, whatever is clicked."""
    answer = client_of(house.owner).post(address("member", house), {"role": role}, secure=True, follow=True)
    assert b"at least one owner" in answer.content
    assert Member.objects.get(project=house.project, user=house.owner).role == "owner"


def test_added_member_without_account_gets_one_with_a_password_shown_once(house: House) -> None:
    """A new person can sign in with the password that the owner was shown, and nobody is shown it again."""
    client = client_of(house.owner)
    answer = ask(client, "POST", address("members", house), email="Dai@Example.com", role="engineer")
    password = answer.content.decode().split('data-copy="')[1].split('"')[0]
    assert answer["Cache-Control"] == "no-store"
    assert User.objects.get(email="dai@example.com").check_password(password)
    assert password not in ask(client, "GET", address("members", house)).content.decode()


def test_settings_when_saved_are_the_projects_rules_and_stand_in_the_history(house: House) -> None:
    """Default duration, need of a reason and login name are the owner's to set."""
    data = {"name": "Plant", "default_duration_s": "1800", "needs_reason": "on", "login_user": "service"}
    assert ask(client_of(house.owner), "POST", address("settings", house), **data).status_code == 302
    house.project.refresh_from_db()
    assert (house.project.default_duration_s, house.project.needs_reason) == (1800, True)
    assert Pending.objects.filter(verb="project.changed").exists()
    data["login_user"] = "root; rm"
    assert b"is no Linux user name" in ask(client_of(house.owner), "POST", address("settings", house), **data).content


@pytest.mark.threat("database-tokens")
def test_token_is_shown_once_kept_as_digest_and_refused_once_ended(committed: House) -> None:
    """A token works until its owner ends it; the database knows only its SHA-256."""
    house = committed
    client = client_of(house.owner)
    text = ask(client, "POST", "/tokens/", name="deploy").content.decode().split('data-copy="')[1].split('"')[0]
    bearer = {"authorization": f"Bearer {text}"}
    assert Client().get("/api/v1/projects", secure=True, headers=bearer).status_code == 200
    assert text not in ask(client, "GET", "/tokens/").content.decode()
    assert text not in dump_of_database()
    assert Pending.objects.get(verb="token.made").data["name"] == "deploy"
    token = ApiToken.objects.get()
    other = make_house("elsewhere")
    assert ask(client_of(other.owner), "POST", f"/tokens/{token.pk}/end/").status_code == 404
    assert ask(client, "POST", f"/tokens/{token.pk}/end/").status_code == 302
    assert Client().get("/api/v1/projects", secure=True, headers=bearer).status_code == 401
