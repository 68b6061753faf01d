"""Pages and API with nothing but the rights of web's own PostgreSQL role."""

from typing import Any

import pytest
from django.test import Client
from doorward_console.fleet.models import Device

from tests.console.conftest import FOLDER, House
from tests.console.test_api import call, token_of
from tests.console.test_roles import acting_as, roles
from tests.console.visiting import address, ask, client_of
from tests.parts.certificates import make_root
from tests.parts.files import write_whole

house = roles  # the same house, under the name by which tests of pages know it


@pytest.mark.real("postgres")
def test_everything_that_an_owner_does_works_with_webs_rights(house: House) -> None:
    """Web's role can write what its pages and its API write, and needs no more."""
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    token, client, project = token_of(house.owner), client_of(house.owner), f"/projects/{house.project.id}"
    Device.objects.filter(pk=house.device.pk).update(offered={"database": "tcp:10.0.0.5:5432"})
    with acting_as("web"):
        told(call(token, "PUT", f"/devices/{house.device.id}/forwards/database", {"port": 22050}))
        assert call(token, "DELETE", f"/devices/{house.device.id}/forwards/database").status_code == 204
        made = told(call(token, "POST", f"{project}/devices", {"name": "press 2"}), 201)
        device = f"/devices/{made['id']}"
        told(call(token, "PUT", f"{device}/way", {"relay": house.relay.id, "port": 22002}))
        told(call(token, "PATCH", device, {"name": "press 3"}))
        told(call(token, "POST", f"{device}/join"), 201)
        told(call(token, "POST", f"{device}/block", {}))
        told(call(token, "POST", f"{device}/unblock", {}))
        told(call(token, "POST", f"{project}/keys", {"ports": "22001"}), 201)
        member = told(call(token, "POST", f"{project}/members", {"email": "a@example.com", "role": "viewer"}), 201)
        told(call(token, "PATCH", f"{project}/members/{member['id']}", {"role": "admin"}))
        assert call(token, "DELETE", f"{project}/members/{member['id']}").status_code == 204
        told(call(token, "PATCH", project, {"needs_reason": False}))
        told(call(token, "POST", f"/devices/{house.device.id}/door", {"state": "open"}), 202)
        told(call(token, "POST", f"/devices/{house.device.id}/door", {"state": "shut"}), 202)
        assert call(token, "DELETE", device, confirm="press 3").status_code == 204
        for name in ("devices", "device", "relays", "relay", "keys", "history", "members", "settings", "tokens"):
            assert ask(client, "GET", address(name, house)).status_code == 200
        assert ask(client, "POST", "/tokens/", name="deploy").status_code == 200
        person = {"login": house.owner.email, "password": "a long password 1"}
        assert Client().post("/sign-in/", person, secure=True).status_code == 302
    assert Device.objects.get(pk=made["id"]).removed_at is not None


def told(answer: Any, status: int = 200) -> Any:
    """Give what an answer says, when it is the one expected."""
    assert answer.status_code == status, answer.content
    return answer.json()
