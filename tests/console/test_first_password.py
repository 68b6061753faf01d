"""An account that somebody else made: its first password opens nothing but the page on which its person sets their own."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.test import AsyncClient, Client
from django.urls import URLPattern
from doorward_console.declined import Declined
from doorward_console.pages import urls
from doorward_console.people.members import Added, Who, add_member, remove_member
from doorward_console.people.models import ApiToken, Member, User
from doorward_console.people.tokens import PREFIX, digest_of_token

from tests.console.conftest import House, make_house
from tests.console.visiting import address, ask, client_of

BOB = "bob@example.com"
OWN = "a very own passphrase"
OPEN = {"account_login", "account_logout", "account_change_password"}


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction."""
    cache.clear()
    return make_house()


def add_bob(house: House, role: str = "owner") -> Added:
    return add_member(house.project, BOB, role, Who(house.owner, "203.0.113.7"))


def signed_in(password: str | None) -> Client:
    client = Client()
    answer = ask(client, "POST", "/sign-in/", login=BOB, password=password or "")
    assert answer.status_code == 302, answer.content.decode()
    return client


def set_own(client: Client, old: str | None, new: str = OWN) -> Any:
    return ask(client, "POST", "/password/", oldpassword=old or "", password1=new, password2=new)


@pytest.mark.threat("first-password-elsewhere")
def test_account_when_it_has_a_first_password_then_another_project_does_not_let_it_in(house: House) -> None:
    """Who made an account cannot wait with its first password for somebody else's project."""
    add_bob(house)
    other = make_house("elsewhere")
    with pytest.raises(Declined, match="has not signed in yet") as declined:
        add_bob(other)
    assert declined.value.code == "member.first-password"
    assert "then add them again" in declined.value.next
    assert not Member.objects.filter(project=other.project, user__email=BOB).exists()


def test_account_when_its_person_set_a_password_then_another_project_lets_it_in(house: House) -> None:
    """Once somebody has made the account their own, every project may add it."""
    password = add_bob(house).first_password
    set_own(signed_in(password), password)
    assert add_bob(make_house("elsewhere")).first_password is None


def test_account_when_added_again_where_it_was_made_then_it_gets_another_first_password(house: House) -> None:
    """A first password that was lost is replaced by the project that made the account, and the old one ends."""
    first = add_bob(house)
    remove_member(house.project, first.member.pk, Who(house.owner, "203.0.113.7"))
    again = add_bob(house)
    bob = User.objects.get(email=BOB)
    assert again.first_password is not None
    assert bob.check_password(again.first_password)
    assert not bob.check_password(str(first.first_password))


@pytest.mark.threat("first-password-elsewhere")
@pytest.mark.parametrize(
    "name", sorted(str(one.name) for one in urls.urlpatterns if isinstance(one, URLPattern) and one.name not in OPEN)
)
def test_page_when_password_is_the_first_then_it_leads_to_setting_an_own(house: House, name: str) -> None:
    """Every page but sign-in, sign-out and the change itself sends the person to /password/, and does nothing."""
    client = signed_in(add_bob(house).first_password)
    for method in ("GET", "POST"):
        answer = ask(client, method, address(name, house))
        assert (answer.status_code, answer.get("Location")) == (302, "/password/"), method


@pytest.mark.threat("first-password-elsewhere")
def test_api_when_password_is_the_first_then_refused_with_a_code(house: House) -> None:
    """Neither a browser's session nor a token of such an account gets anything from the API."""
    client = signed_in(add_bob(house).first_password)
    text = PREFIX + "x" * 43
    ApiToken.objects.create(user=User.objects.get(email=BOB), name="early", digest=digest_of_token(text))
    by_token = Client().get("/api/v1/projects", secure=True, headers={"authorization": f"Bearer {text}"})
    for answer in (client.get("/api/v1/projects", secure=True), by_token):
        assert (answer.status_code, answer.json()["code"]) == (403, "account.first-password")
        assert "/password/" in answer.json()["next"]


@pytest.mark.django_db(transaction=True)
def test_account_when_password_is_the_first_then_what_waits_is_refused_too() -> None:
    """Neither the event stream nor an operation that waits is a way around, as the console really serves them."""
    house = make_house()
    add_bob(house)
    bob = User.objects.get(email=BOB)
    waiting = (address("events", house), f"/api/v1/devices/{house.device.id}/door")

    async def statuses() -> list[int]:
        client = AsyncClient()
        await client.aforce_login(bob)
        return [(await client.get(url, secure=True)).status_code for url in waiting]

    assert async_to_sync(statuses)() == [302, 403]


def test_password_when_set_then_the_console_is_open_to_its_person(house: House) -> None:
    """The page says why one is there; afterwards everything that the role allows is there, without signing in again."""
    password = add_bob(house).first_password
    client = signed_in(password)
    assert "Set a password of your own" in ask(client, "GET", "/password/").content.decode()
    assert set_own(client, password)["Location"] == "/"
    assert ask(client, "GET", address("members", house)).status_code == 200
    assert client.get("/api/v1/projects", secure=True).status_code == 200
    assert "Set a password of your own" not in ask(client, "GET", "/password/").content.decode()


def test_password_when_set_to_the_first_again_then_declined(house: House) -> None:
    """The password that somebody else knows cannot be kept."""
    password = add_bob(house).first_password
    answer = set_own(signed_in(password), password, str(password))
    assert "not the one that you were given" in answer.content.decode()
    assert User.objects.get(email=BOB).has_first_password


def test_account_when_signed_up_by_init_then_it_is_its_persons_own(house: House) -> None:
    """An account that nobody else made is not sent anywhere."""
    assert ask(client_of(house.owner), "GET", address("members", house)).status_code == 200
