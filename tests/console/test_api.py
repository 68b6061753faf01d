"""The API: the same rights, the same sentences, and the door's truth for programs."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from doorward_console.api import api
from doorward_console.fleet.models import Device
from doorward_console.keys.models import Key
from doorward_console.maintenance.models import Intent
from doorward_console.people.members import Who
from doorward_console.people.models import Member, User
from doorward_console.people.rights import Right, may
from doorward_console.people.tokens import make_token

from tests.console.conftest import ED25519_LINE, FOLDER, House, make_house
from tests.console.visiting import deeds, open_session, opened_record, reboot_of
from tests.parts.certificates import make_root
from tests.parts.files import write_whole


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction."""
    cache.clear()
    return make_house()


def token_of(user: User) -> str:
    """Make a token for ``user``."""
    return make_token(Who(user, "127.0.0.1"), "test")[1]


def call(token: str | None, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """Call the API as a program does; gives the response."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = query if method == "GET" else json.dumps({} if body is None else body)
    kind = {} if method == "GET" else {"content_type": "application/json"}
    url = f"/api/v1{path}?{urlencode(query)}" if query and method != "GET" else f"/api/v1{path}"
    return getattr(Client(), method.lower())(url, data, secure=True, headers=headers, **kind)


OPERATIONS = [
    (method.upper(), path.removeprefix("/api/v1"))
    for path, methods in api.get_openapi_schema()["paths"].items()
    for method in methods
]
RIGHTS: dict[tuple[str, str], Right] = {
    ("PATCH", "/projects/{project_id}"): Right.MANAGE_PROJECT,
    ("GET", "/projects/{project_id}/members"): Right.MANAGE_MEMBERS,
    ("POST", "/projects/{project_id}/members"): Right.MANAGE_MEMBERS,
    ("PATCH", "/projects/{project_id}/members/{member_id}"): Right.MANAGE_MEMBERS,
    ("DELETE", "/projects/{project_id}/members/{member_id}"): Right.MANAGE_MEMBERS,
    ("POST", "/projects/{project_id}/keys"): Right.MAKE_KEYS,
    ("POST", "/projects/{project_id}/devices"): Right.MANAGE_DEVICES,
    ("PATCH", "/devices/{device_id}"): Right.MANAGE_DEVICES,
    ("DELETE", "/devices/{device_id}"): Right.MANAGE_DEVICES,
    ("PUT", "/devices/{device_id}/way"): Right.MANAGE_DEVICES,
    ("PUT", "/devices/{device_id}/forwards/{name}"): Right.MANAGE_DEVICES,
    ("DELETE", "/devices/{device_id}/forwards/{name}"): Right.MANAGE_DEVICES,
    ("PUT", "/devices/{device_id}/settings"): Right.MANAGE_DEVICES,
    ("PUT", "/devices/{device_id}/licence"): Right.MANAGE_DEVICES,
    ("POST", "/devices/{device_id}/join"): Right.MANAGE_DEVICES,
    ("POST", "/devices/{device_id}/block"): Right.MANAGE_DEVICES,
    ("POST", "/devices/{device_id}/unblock"): Right.MANAGE_DEVICES,
    ("POST", "/devices/{device_id}/door"): Right.TOGGLE,
    ("POST", "/devices/{device_id}/door/extend"): Right.TOGGLE,
    ("POST", "/projects/{project_id}/keys/relay-file"): Right.MAKE_KEYS,
    ("POST", "/devices/{device_id}/commands"): Right.REBOOT,
    ("POST", "/devices/{device_id}/commands/{command_id}/cancel"): Right.REBOOT,
    ("POST", "/projects/{project_id}/commands"): Right.REBOOT,
    ("POST", "/projects/{project_id}/commands/{batch_id}/stop"): Right.REBOOT,
    ("POST", "/projects/{project_id}/relays"): Right.MANAGE_RELAYS,
    ("POST", "/projects/{project_id}/relays/plain"): Right.MANAGE_RELAYS,
    ("PUT", "/relays/{relay_id}/plain"): Right.MANAGE_RELAYS,
    ("DELETE", "/relays/{relay_id}"): Right.MANAGE_RELAYS,
}
_PLAIN_RELAY = {"name": "x", "host": "relay.example.com", "user": "tunnel", "ssh_host_keys": [ED25519_LINE]}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/projects/{project_id}/members"): {"email": "new@example.com", "role": "viewer"},
    ("PATCH", "/projects/{project_id}/members/{member_id}"): {"role": "owner"},
    ("POST", "/projects/{project_id}/devices"): {"name": "press 7"},
    ("PATCH", "/devices/{device_id}"): {"name": "press 7"},
    ("PUT", "/devices/{device_id}/way"): {"relay": None, "port": None},
    ("PUT", "/devices/{device_id}/forwards/{name}"): {"port": 22002},
    ("POST", "/devices/{device_id}/door"): {"state": "open"},
    ("PUT", "/devices/{device_id}/settings"): {"values": {}},
    ("POST", "/devices/{device_id}/commands"): {"verb": "reboot"},
    ("POST", "/projects/{project_id}/commands"): {"verb": "reboot", "filter": {}},
    ("PUT", "/devices/{device_id}/licence"): {"licence": "none"},
    ("POST", "/projects/{project_id}/relays"): {"line": "none", "name": "x"},
    ("POST", "/projects/{project_id}/relays/plain"): _PLAIN_RELAY,
    ("PUT", "/relays/{relay_id}/plain"): _PLAIN_RELAY,
}


def path_in(house: House, path: str) -> str:
    """Fill an operation's path with the things of ``house``."""
    member = Member.objects.get(project=house.project, user=house.owner)
    command = reboot_of(house)
    return path.format(
        project_id=house.project.id, device_id=house.device.id, relay_id=house.relay.id, member_id=member.pk,
        command_id=command.pk, batch_id=command.batch_id, name="database",
    )  # fmt: skip


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operation_without_a_name_is_refused(house: House, method: str, path: str) -> None:
    """No operation answers a request that names nobody, or names an unknown token."""
    before = deeds()
    for token in (None, "doorward-token-unknown"):
        answer = call(token, method, path_in(house, path), BODIES.get((method, path)))
        assert answer.status_code == 401
        assert set(answer.json()) == {"code", "message", "next"}
    assert deeds() == before


@pytest.mark.threat("other-project")
@pytest.mark.parametrize(("method", "path"), [one for one in OPERATIONS if "{" in one[1]])
def test_operation_for_a_member_of_another_project_finds_nothing(house: House, method: str, path: str) -> None:
    """What belongs to another project is not there, for every operation, and stays as it is."""
    token = token_of(make_house("elsewhere").owner)
    before = deeds()
    answer = call(token, method, path_in(house, path), BODIES.get((method, path)))
    assert answer.status_code == 404
    assert house.device.name not in answer.content.decode()
    assert deeds() == before


@pytest.mark.feature("E5")
@pytest.mark.threat("lesser-role", "member-toggles")
@pytest.mark.parametrize("role", ["viewer", "engineer", "admin"])
@pytest.mark.parametrize(("method", "path"), [one for one in OPERATIONS if "{" in one[1]])
def test_operation_for_a_lesser_role_answers_as_the_table_of_rights_says(
    house: House, method: str, path: str, role: str
) -> None:
    """Programs may what their person may: no door is toggled in the name of an engineer or a viewer."""
    user = User.objects.create_user(f"{role}@example.com")
    Member.objects.create(project=house.project, user=user, role=role)
    token = token_of(user)
    before = deeds()
    answer = call(token, method, path_in(house, path), BODIES.get((method, path)))
    is_entitled = may(role, RIGHTS.get((method, path), Right.VIEW))
    assert (answer.status_code == 403) is not is_entitled
    assert answer.status_code < 500
    if not is_entitled:
        assert answer.json()["code"] == "http.403"
        assert deeds() == before


def test_door_turned_on_answers_what_is_and_writes_who_asked(house: House) -> None:
    """The answer to ON is the door's truth: it is opening, asked by this person, and not open."""
    token = token_of(house.owner)
    asked = {"state": "open", "duration_s": 900, "reason": "ticket 4711"}
    answer = call(token, "POST", f"/devices/{house.device.id}/door", asked)
    assert answer.status_code == 202
    door = answer.json()
    assert (door["state"], door["asked_by"], door["reason"]) == ("opening", house.owner.email, "ticket 4711")
    assert door["lines"] is None
    intent = Intent.objects.get()
    assert (intent.kind, intent.duration_s, intent.from_address) == ("on", 900, "127.0.0.1")


def test_open_door_gives_the_lines_to_those_who_may_log_in(house: House) -> None:
    """A program that may log in finds the ssh line, the known_hosts line and their parts."""
    Key.objects.create(project=house.project, kind="host-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    open_session(house)
    lines = call(token_of(house.owner), "GET", f"/devices/{house.device.id}/door").json()["lines"]
    assert lines["ssh"].startswith(f"ssh -i device-{house.project.id}.key -o HostKeyAlias={house.device.id} ")
    assert lines["known_hosts"] == f"@cert-authority {house.device.id} {ED25519_LINE}"
    assert (lines["host"], lines["port"], lines["user"]) == ("relay.example.com", 22001, "remote-admin")


@pytest.mark.parametrize("said", [True, False, None])
def test_door_that_a_log_in_shares_with_the_agent_says_so_to_programs(house: House, *, said: bool | None) -> None:
    """What history and page say in words of a device without root is there for programs, too, while the door is open."""
    session, token = open_session(house), token_of(house.owner)
    if said is not None:
        opened_record(house, session, {"door": "embedded", "shares_user": said})
    device = f"/devices/{house.device.id}"

    def answers() -> list[bool]:
        listed = call(token, "GET", f"/projects/{house.project.id}/devices").json()
        return [
            one["shares_user"]
            for one in (call(token, "GET", device).json(), *listed, call(token, "GET", f"{device}/door").json())
        ]

    assert answers() == [said is True] * 3
    session.state, session.closed_at = "closed", timezone.now()
    session.save()
    assert answers() == [False] * 3


def test_failed_door_says_code_meaning_and_next_step(house: House) -> None:
    """A program is told why, whose move it is, and what to do."""
    steps = [{"step": "relay-granted", "at": 1, "code": "relay.unreachable"}]
    open_session(house, state="failed", code="relay.unreachable", steps=steps, closed_at=timezone.now())
    door = call(token_of(house.owner), "GET", f"/devices/{house.device.id}/door").json()
    assert door["state"] == "failed"
    assert door["why"]["code"] == "relay.unreachable"
    assert door["why"]["move"] == "administrator"
    assert door["steps"][-1]["code"] == "relay.unreachable"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"state": "ajar"}, 422, "http.422"),
        ({}, 422, "http.422"),
        ({"state": "open", "duration_s": -1}, 409, "ask.bad-duration"),
        ({"state": "open", "duration_s": "soon"}, 422, "http.422"),
    ],
)
def test_door_asked_for_what_cannot_be_is_refused_with_code_and_next_step(
    house: House, body: Any, status: int, code: str
) -> None:
    """Faults are named by a stable code, a sentence, and what to do."""
    answer = call(token_of(house.owner), "POST", f"/devices/{house.device.id}/door", body)
    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert answer.json()["message"]
    assert answer.json()["next"]


def test_body_that_is_not_json_is_refused_in_the_same_shape(house: House) -> None:
    """Even a body that cannot be read is answered with code, message and next."""
    headers = {"authorization": f"Bearer {token_of(house.owner)}"}
    url = f"/api/v1/devices/{house.device.id}/door"
    answer = Client().post(url, "{", content_type="application/json", secure=True, headers=headers)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message", "next"}


@pytest.mark.feature("E3")
def test_way_with_a_port_that_another_device_has_is_refused(house: House) -> None:
    """Two devices on one relay and port are refused over the API, too."""
    other = Device.objects.create(project=house.project, name="press 2", state="joined")
    body = {"relay": house.relay.id, "port": 22001}
    answer = call(token_of(house.owner), "PUT", f"/devices/{other.id}/way", body)
    assert answer.status_code == 409
    assert answer.json()["code"] == "device.port-taken"
    body["port"] = 22002
    assert call(token_of(house.owner), "PUT", f"/devices/{other.id}/way", body).json()["port"] == 22002


def test_way_through_a_relay_of_another_project_finds_none(house: House) -> None:
    """A relay of somebody else's cannot be named."""
    other = make_house("elsewhere")
    body = {"relay": other.relay.id, "port": 22007}
    assert call(token_of(house.owner), "PUT", f"/devices/{house.device.id}/way", body).status_code == 404


def test_device_added_renamed_and_removed(house: House) -> None:
    """A program keeps the list of devices."""
    token = token_of(house.owner)
    made = call(token, "POST", f"/projects/{house.project.id}/devices", {"name": " press  2 "})
    assert (made.status_code, made.json()["name"], made.json()["state"]) == (201, "press 2", "added")
    path = f"/devices/{made.json()['id']}"
    assert call(token, "PATCH", path, {"name": "press 1"}).json()["code"] == "device.name-taken"
    assert call(token, "PATCH", path, {"name": "press 3"}).json()["name"] == "press 3"
    found = call(token, "GET", f"/projects/{house.project.id}/devices", q="press", state="shut").json()
    assert {one["name"] for one in found} == {"press 1", "press 3"}
    assert call(token, "DELETE", path, confirm="press 3").status_code == 204
    assert call(token, "GET", path).status_code == 404
    assert len(call(token, "GET", f"/projects/{house.project.id}/devices").json()) == 1
    assert call(token, "POST", f"/projects/{house.project.id}/devices", {"name": "press 3"}).status_code == 201


def test_join_line_is_given_over_the_api(house: House) -> None:
    """A program can make the line with which a device joins."""
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    answer = call(token_of(house.owner), "POST", f"/devices/{house.device.id}/join")
    assert answer.status_code == 201
    assert answer.json()["join"].startswith("doorward-join-1 https://")


@pytest.mark.feature("E6")
def test_history_over_the_api_has_filters_and_pages(house: House) -> None:
    """A program reads the same lines as a person."""
    token = token_of(house.owner)
    call(token, "POST", f"/devices/{house.device.id}/door", {"state": "open", "reason": "ticket 4711"})
    path = f"/projects/{house.project.id}/history"
    lines = call(token, "GET", path, action="maintenance").json()["lines"]
    assert [line["sentence"] for line in lines] == ["ON: Start Remote M."]
    assert lines[0]["by"] == house.owner.email
    assert lines[0]["ending"] == "asked"
    assert call(token, "GET", path, person="nobody").json()["lines"] == []
    assert call(token, "GET", path, page=0).status_code == 422


def test_members_and_rules_over_the_api(house: House) -> None:
    """An owner's program manages members and rules; the last owner stays."""
    token = token_of(house.owner)
    path = f"/projects/{house.project.id}"
    added = call(token, "POST", f"{path}/members", {"email": "dai@example.com", "role": "engineer"}).json()
    assert added["first_password"]
    assert call(token, "PATCH", f"{path}/members/{added['id']}", {"role": "viewer"}).json()["role"] == "viewer"
    assert call(token, "DELETE", f"{path}/members/{added['id']}").status_code == 204
    owner = call(token, "GET", f"{path}/members").json()[0]
    assert call(token, "DELETE", f"{path}/members/{owner['id']}").json()["code"] == "member.last-owner"
    assert call(token, "PATCH", path, {"needs_reason": True}).json()["needs_reason"] is True
    refused = call(token, "POST", f"/devices/{house.device.id}/door", {"state": "open"})
    assert refused.json()["code"] == "ask.no-reason"


def test_pairing_line_that_is_none_is_refused_with_a_sentence(house: House) -> None:
    """A wrong paste says which part is wrong."""
    answer = call(token_of(house.owner), "POST", f"/projects/{house.project.id}/relays", {"line": "x", "name": "r2"})
    assert answer.status_code == 409
    assert "seven parts" in answer.json()["message"]


def test_account_that_was_switched_off_has_no_token_any_more(house: House) -> None:
    """A person who may not sign in may not ask by token either."""
    token = token_of(house.owner)
    house.owner.is_active = False
    house.owner.save()
    assert call(token, "GET", "/projects").status_code == 401
