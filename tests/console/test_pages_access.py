"""Every page answers its members and nobody else, and no other site can use them."""

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, get_resolver
from doorward_console.pages import urls
from doorward_console.people.models import Member, User
from doorward_console.people.rights import Right, may

from tests.console.conftest import House, make_house
from tests.console.visiting import address, ask, client_of, deeds


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction: quick, for what need not commit."""
    cache.clear()  # attempts at signing in are counted there
    return make_house()


RIGHTS: dict[str, tuple[str, Right]] = {
    "devices": ("POST", Right.MANAGE_DEVICES),
    "device-settings": ("POST", Right.MANAGE_DEVICES),
    "device-settings-read": ("POST", Right.REFRESH),
    "device-way": ("POST", Right.MANAGE_DEVICES),
    "device-join": ("POST", Right.MANAGE_DEVICES),
    "device-licence": ("POST", Right.MANAGE_DEVICES),
    "device-name": ("POST", Right.MANAGE_DEVICES),
    "device-block": ("POST", Right.MANAGE_DEVICES),
    "device-unblock": ("POST", Right.MANAGE_DEVICES),
    "device-remove": ("POST", Right.MANAGE_DEVICES),
    "door-on": ("POST", Right.TOGGLE),
    "door-off": ("POST", Right.TOGGLE),
    "door-extend": ("POST", Right.TOGGLE),
    "command-ask": ("POST", Right.REBOOT),
    "command-cancel": ("POST", Right.REBOOT),
    "batch-choose": ("POST", Right.REBOOT),
    "batch-ask": ("POST", Right.REBOOT),
    "batch-stop": ("POST", Right.REBOOT),
    "relays": ("POST", Right.MANAGE_RELAYS),
    "relays-plain": ("POST", Right.MANAGE_RELAYS),
    "relay-plain": ("POST", Right.MANAGE_RELAYS),
    "relay-remove": ("POST", Right.MANAGE_RELAYS),
    "keys": ("POST", Right.MAKE_KEYS),
    "relay-file": ("GET", Right.MAKE_KEYS),
    "members": ("POST", Right.MANAGE_MEMBERS),
    "member": ("POST", Right.MANAGE_MEMBERS),
    "settings": ("POST", Right.MANAGE_PROJECT),
}
"""What each address needs beyond membership; an address that is not here needs only that."""

PUBLIC = {"account_login", "account_logout"}
OWN = {"home", "projects", "tokens", "token-end", "account_change_password"}
NAMES = [str(one.name) for one in urls.urlpatterns if isinstance(one, URLPattern)]
OF_PROJECT = [name for name in NAMES if name not in PUBLIC | OWN]


@pytest.mark.parametrize("name", NAMES)
def test_address_when_nobody_is_signed_in_leads_to_sign_in(house: House, name: str) -> None:
    """A stranger learns nothing from any address but that one has to sign in, and changes nothing."""
    before = deeds()
    answers = [ask(Client(), method, address(name, house)) for method in ("GET", "POST")]
    for answer in answers:
        is_led = answer.status_code == 302 and answer["Location"].startswith(("/sign-in/", "/"))
        assert is_led or answer.status_code in {401, 405} or name in PUBLIC
        assert house.device.name.encode() not in answer.content
    assert deeds() == before


@pytest.mark.threat("other-project")
@pytest.mark.parametrize("name", OF_PROJECT)
def test_address_for_a_member_of_another_project_does_not_exist(house: House, name: str) -> None:
    """Who belongs to another project finds nothing at any address of this one, and changes nothing."""
    other = make_house("elsewhere")
    before = deeds()
    answers = [ask(client_of(other.owner), method, address(name, house)) for method in ("GET", "POST")]
    assert {answer.status_code for answer in answers} <= {404, 405}
    assert 404 in {answer.status_code for answer in answers}
    assert all(house.device.name.encode() not in answer.content for answer in answers)
    assert deeds() == before


@pytest.mark.threat("other-project")
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in OF_PROJECT
        if ("device" in name and name != "devices") or name.startswith("door") or name in {"relay", "relay-remove"}
    ],
)
def test_device_of_another_project_below_ones_own_does_not_exist(house: House, name: str) -> None:
    """No device, door or relay can be reached through a project that one is in but it is not."""
    other = make_house("elsewhere")
    url = address(name, house).replace(house.project.id, other.project.id)
    answers = {ask(client_of(other.owner), method, url).status_code for method in ("GET", "POST")}
    assert answers <= {404, 405}
    assert 404 in answers


@pytest.mark.threat("other-project")
@pytest.mark.parametrize("role", ["remove", "viewer"])
def test_member_of_another_project_below_ones_own_does_not_exist(house: House, role: str) -> None:
    """An owner changes the members of their own project alone, whatever number the address names."""
    other, members = make_house("elsewhere"), set(Member.objects.values_list("pk", "role"))
    url = address("member", house).replace(house.project.id, other.project.id)
    assert ask(client_of(other.owner), "POST", url, role=role).status_code == 404
    assert set(Member.objects.values_list("pk", "role")) >= members


@pytest.mark.feature("E5")
@pytest.mark.threat("lesser-role", "member-toggles")
@pytest.mark.parametrize("role", ["viewer", "engineer", "admin"])
@pytest.mark.parametrize("name", OF_PROJECT)
def test_address_for_a_lesser_role_answers_as_the_table_of_rights_says(house: House, name: str, role: str) -> None:
    """Each role may do at every address what the one table of rights says; no door is toggled by engineer or viewer."""
    user = User.objects.create_user(f"{role}@example.com", "a long password 1")
    Member.objects.create(project=house.project, user=user, role=role)
    method, right = RIGHTS.get(name, ("GET", Right.VIEW))
    before = deeds()
    answer = ask(client_of(user), method, address(name, house))
    assert (answer.status_code == 403) is not may(role, right)
    if answer.status_code == 403:
        assert b"owner" in answer.content
        assert deeds() == before


def test_addresses_of_allauth_beyond_the_three_are_not_there(db: None) -> None:
    """Nobody can sign up, reset a password by mail, or use any other of allauth's own pages."""
    names = {key for key in get_resolver().reverse_dict if isinstance(key, str)}
    assert {name for name in names if name.startswith(("account_", "socialaccount"))} == {
        "account_login",
        "account_logout",
        "account_change_password",
    }


@pytest.mark.threat("csrf")
@pytest.mark.parametrize("name", [name for name, (method, _) in RIGHTS.items() if method == "POST"])
def test_form_from_another_site_is_refused_with_a_sentence(house: House, name: str) -> None:
    """Without the form's own secret nothing is done in a signed-in person's name."""
    before = deeds()
    answer = client_of(house.owner, enforce_csrf_checks=True).post(address(name, house), secure=True)
    assert answer.status_code == 403
    assert b"gone stale" in answer.content
    assert deeds() == before


@pytest.mark.threat("session-fixation")
def test_signing_in_changes_the_session(house: House) -> None:
    """A session id that somebody planted before sign-in is worth nothing after it."""
    house.owner.set_password("a long password 1")
    house.owner.save()
    client = Client()
    session = client.session
    session["planted"] = "yes"
    session.save()
    planted = client.cookies["sessionid"].value
    answer = client.post("/sign-in/", {"login": house.owner.email, "password": "a long password 1"}, secure=True)
    assert answer.status_code == 302
    assert client.cookies["sessionid"].value != planted
    stranger = Client()
    stranger.cookies["sessionid"] = planted
    assert ask(stranger, "GET", "/projects/").status_code == 302


def test_signing_in_leads_on_to_where_one_was_going(house: House) -> None:
    """A link from a colleague still leads there after sign-in, and never to another site."""
    client, going = Client(), address("device", house)
    led = client.get(going, secure=True)
    assert led["Location"] == f"/sign-in/?next={going}"
    form = client.get(led["Location"], secure=True).content.decode()
    assert f'name="next" value="{going}"' in form
    person = {"login": house.owner.email, "password": "a long password 1"}
    assert client.post("/sign-in/", person | {"next": going}, secure=True)["Location"] == going
    client = Client()
    assert client.post("/sign-in/", person | {"next": "https://evil.example"}, secure=True)["Location"] == "/"


def test_signing_in_again_and_again_with_wrong_passwords_is_stopped(house: House) -> None:
    """Guessing is slow: after a few wrong passwords the account's sign-in waits."""
    client = Client()
    answers = [
        client.post("/sign-in/", {"login": house.owner.email, "password": f"guess {n}"}, secure=True) for n in range(8)
    ]
    assert b"Too many failed login attempts" in answers[-1].content or answers[-1].status_code == 429


@pytest.mark.parametrize("url", ["/sign-in/", "/", "/projects/", "/nothing/here", "/api/v1/projects", "/api/v1/docs"])
def test_every_answer_carries_the_security_headers(house: House, url: str) -> None:
    """No answer can be framed, sniffed, or run code that is not ours."""
    answer = ask(client_of(house.owner), "GET", url)
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"


def test_session_and_csrf_cookies_are_for_tls_and_not_for_scripts(house: House) -> None:
    """The cookies that stand for a person are out of reach of scripts and of plain HTTP."""
    client = Client()
    client.get("/sign-in/", secure=True)
    client.post("/sign-in/", {"login": house.owner.email, "password": "a long password 1"}, secure=True)
    for name in ("sessionid", "csrftoken"):
        assert client.cookies[name]["secure"]
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] == "Lax"


NOT_PAGES = {"relay-file", "history-export", "events"}


@pytest.mark.parametrize("name", sorted({*OF_PROJECT, *OWN} - NOT_PAGES))
def test_page_has_no_inline_script_or_style(house: House, name: str) -> None:
    """Pages fit their own policy: no inline handler, script or style."""
    text = ask(client_of(house.owner), "GET", address(name, house)).content.decode(errors="replace")
    assert " style=" not in text
    assert "<style" not in text
    assert " onclick=" not in text
    assert "<script>" not in text
    assert "{{" not in text
    assert "{%" not in text
