"""The API under a browser's session: nothing changes without the CSRF token, at any operation."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tests.console.conftest import House, make_house
from tests.console.test_api import BODIES, OPERATIONS, path_in
from tests.console.visiting import deeds

CHANGING = [(method, path) for method, path in OPERATIONS if method != "GET"]


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction."""
    cache.clear()
    return make_house()


def asked(client: Client, house: House, method: str, path: str, **headers: str) -> Any:
    """Ask as a script in the browser would."""
    data, url = json.dumps(BODIES.get((method, path), {})), "/api/v1" + path_in(house, path)
    return getattr(client, method.lower())(url, data, content_type="application/json", secure=True, headers=headers)


@pytest.mark.threat("csrf")
@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_operation_by_a_browser_without_its_csrf_token_changes_nothing(house: House, method: str, path: str) -> None:
    """Another site cannot use a signed-in person's browser to call the API, whatever operation it tries."""
    before = deeds()
    client = Client(enforce_csrf_checks=True)
    client.force_login(house.owner)
    answer = asked(client, house, method, path)
    assert (answer.status_code, answer.json()["code"]) == (403, "http.csrf")
    assert deeds() == before


@pytest.mark.threat("csrf")
def test_operation_by_a_browser_with_its_csrf_token_is_done(house: House) -> None:
    """The person's own page may; without this the refusals above would hold for nothing. Reading needs no token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(house.owner)
    client.get(f"/projects/{house.project.id}/keys/", secure=True)  # a page with a form brings the cookie
    token = client.cookies["csrftoken"].value
    headers = {"x-csrftoken": token, "referer": "https://testserver/"}
    path = "/devices/{device_id}/door"
    answer = asked(client, house, "POST", path, **headers)
    assert answer.status_code == 202, answer.content
    assert client.get("/api/v1" + path_in(house, path), secure=True).status_code == 200
