"""What people see of devices and doors: what is, why, and what to do next."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.keys.models import Key
from doorward_console.maintenance.models import Intent
from doorward_console.people.models import Member, User

from tests.console.conftest import ED25519_LINE, FOLDER, House, make_house
from tests.console.visiting import address, address_of, ask, client_of, dump_of_database, open_session, opened_record
from tests.parts.certificates import make_root
from tests.parts.files import write_whole


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


def test_devices_when_there_is_none_says_what_for_and_the_next_step(transactional_db: None) -> None:
    """An empty page says what it is for and offers the one next step."""
    house = make_house()
    house.device.delete()
    text = ask(client_of(house.owner), "GET", address_of("devices", house.project)).content.decode()
    assert "The machine to be mended" in text
    assert "Add a device" in text


def test_devices_with_filters_shows_what_matches_and_keeps_the_filters_in_the_address(house: House) -> None:
    """A filtered view can be sent to a colleague."""
    open_session(house, state="closed", closed_at=timezone.now())
    Device.objects.create(project=house.project, name="pump 9", state="added")
    text = ask(
        client_of(house.owner), "GET", address_of("devices", house.project), q="pump", state="shut"
    ).content.decode()
    assert "pump 9" in text
    assert "press 1" not in text
    assert 'value="pump"' in text
    assert "1 of 2 devices shown" in text


@pytest.mark.feature("E3")
def test_way_when_another_device_has_that_port_is_refused_with_a_sentence(house: House) -> None:
    """Two devices on one relay and port are refused, and the sentence names the other one."""
    second = Device.objects.create(project=house.project, name="press 2", state="joined")
    url = reverse("device-way", kwargs={"project_id": house.project.id, "device_id": second.id})
    answer = ask(client_of(house.owner), "POST", url, relay=house.relay.id, port="22001", bind="*")
    assert answer.status_code == 400
    assert b"belongs to the device press 1 already" in answer.content
    second.refresh_from_db()
    assert second.relay_port is None
    answer = ask(client_of(house.owner), "POST", url, relay=house.relay.id, port="22002", bind="*")
    assert answer.status_code == 302
    second.refresh_from_db()
    assert second.relay_port == 22002


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"relay": "", "port": "22002"}, "A relay and a port go together"),
        ({"port": ""}, "A relay and a port go together"),
        ({"port": "ssh"}, "is no TCP port"),
        ({"port": "70000"}, "is no TCP port"),
        ({"port": "80"}, "gives out the ports"),
        ({"port": "22002", "bind": "0.0.0.0"}, "no place to listen"),
    ],
)
def test_way_when_it_cannot_be_one_is_refused_with_a_sentence(house: House, typed: dict[str, str], said: str) -> None:
    """What was typed wrong is named, and what was typed is still there."""
    answer = ask(
        client_of(house.owner), "POST", address("device-way", house), **({"relay": house.relay.id, "bind": "*"} | typed)
    )
    assert answer.status_code == 400
    assert said in answer.content.decode()


def test_join_line_is_shown_once_and_only_its_digest_is_kept(committed: House) -> None:
    """The page that makes the line shows it; nothing shows it again, and the database does not know it."""
    house = committed
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    house.device.state = "added"
    house.device.save()
    client = client_of(house.owner)
    answer = ask(client, "POST", address("device-join", house))
    text = answer.content.decode()
    token = text.split("doorward-join-1 ")[1].split()[1]
    assert len(token) == 26
    assert "no-store" in answer["Cache-Control"]
    assert token not in ask(client, "GET", address("device", house)).content.decode()
    assert token not in dump_of_database()


@pytest.mark.feature("E4")
@pytest.mark.parametrize(("role", "is_shown"), [("engineer", True), ("admin", True), ("viewer", False)])
def test_ssh_line_is_shown_while_open_to_those_who_may_log_in(house: House, role: str, *, is_shown: bool) -> None:
    """The line with which one logs in is there only while it works, and not for viewers."""
    Key.objects.create(project=house.project, kind="host-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    user = User.objects.create_user(f"{role}@example.com")
    Member.objects.create(project=house.project, user=user, role=role)
    session = open_session(house)
    line = f"ssh -i device-{house.project.id}.key -o HostKeyAlias={house.device.id} remote-admin@relay.example.com -p 22001"
    text = ask(client_of(user), "GET", address("device", house)).content.decode()
    assert (line in text) is is_shown
    assert (f"@cert-authority {house.device.id} ssh-ed25519 AAAA" in text) is is_shown
    session.state = "closing"
    session.save()
    assert line not in ask(client_of(user), "GET", address("device", house)).content.decode()


@pytest.mark.parametrize("shares", [True, False])
def test_open_door_when_the_log_in_shares_the_agents_user_then_page_and_history_say_so(
    house: House, *, shares: bool
) -> None:
    """A device without root is marked in words: on its page while the door is open, and in the action history for good."""
    session = open_session(house)
    opened_record(house, session, {"door": "embedded", "shares_user": shares})
    client = client_of(house.owner)
    page = ask(client, "GET", address("device", house)).content.decode()
    history = ask(client, "GET", f"{address_of('history', house.project)}?action=all").content.decode()
    sentence = "shares the agent"
    assert (sentence in page) is shares
    assert (sentence in history) is shares
    assert "by the embedded server" in history


def test_switch_shows_what_is_and_not_what_was_asked(house: House) -> None:
    """After turning on is asked for, the switch is not on: it is on when the door has answered."""
    client = client_of(house.owner)
    answer = client.post(address("door-on", house), {"duration_s": "3600"}, secure=True, headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert 'aria-checked="false"' in text
    assert "Opening" in text
    open_session(house)
    assert 'aria-checked="true"' in ask(client, "GET", address("device", house)).content.decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "added"}, "has not joined yet"),
        ({"state": "blocked"}, "is blocked"),
        ({"relay": None, "relay_port": None}, "has no relay and port"),
    ],
)
def test_switch_when_turning_on_cannot_work_says_why(house: House, change: dict[str, Any], said: str) -> None:
    """Nobody has to flip the toggle to learn that it would be refused."""
    Device.objects.filter(pk=house.device.pk).update(**change)
    text = ask(client_of(house.owner), "GET", address("device", house)).content.decode()
    assert said in text
    assert 'aria-disabled="true"' in text


def test_failure_stays_with_its_code_its_meaning_and_the_next_step(house: House) -> None:
    """A door that failed says why and what to do, until somebody asks again."""
    open_session(house, state="failed", code="door.user-locked", opened_at=None, closed_at=timezone.now())
    text = ask(client_of(house.owner), "GET", address("device", house)).content.decode()
    assert "door.user-locked" in text
    assert "account is locked" in text
    assert "usermod -p" in text


@pytest.mark.feature("E3")
def test_door_when_whoever_shuts_it_is_gone_at_once_then_it_is_shut_all_the_same(committed: House) -> None:
    """The browser was closed in the moment of the press: what had come whole is done, as the console really serves it."""
    from doorward_console.asgi import application

    session, secret, url = open_session(committed), "a" * 32, address("door-off", committed)
    heard: list[dict[str, Any]] = [{"type": "http.request", "body": b""}]
    said: list[Any] = []

    async def browser() -> dict[str, Any]:
        return heard.pop() if heard else {"type": "http.disconnect"}

    async def answer(message: Any) -> None:
        said.append(message)

    async def shut_and_go() -> None:
        client = AsyncClient()
        await client.aforce_login(committed.owner)
        cookies = "; ".join([f"csrftoken={secret}", *(f"{name}={one.value}" for name, one in client.cookies.items())])
        headers = {"host": "localhost", "origin": "https://localhost", "x-csrftoken": secret, "cookie": cookies}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        about = {"type": "http", "method": "POST", "scheme": "https", "path": url, "query_string": b"", "headers": raw}
        await application(about, browser, answer)

    async_to_sync(shut_and_go)()
    session.refresh_from_db()
    assert session.state == "closing", said
    assert [one.kind for one in Intent.objects.all()] == ["off"]
