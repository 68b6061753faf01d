"""The key pair over the API: in the one answer, and nowhere afterwards."""

import pytest
from doorward_console.keys.models import Key

from tests.console.conftest import ED25519_LINE, make_house
from tests.console.test_api import call, token_of
from tests.console.visiting import dump_of_database
from tests.parts.key_copies import copies_in, forms_of


@pytest.mark.feature("E1")
@pytest.mark.threat("private-key-kept")
def test_keys_made_over_the_api_are_in_the_answer_and_nowhere_else(
    transactional_db: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both files come once; the private one is in no table, no log and no later answer."""
    house = make_house()
    Key.objects.create(project=house.project, kind="tunnel-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    token = token_of(house.owner)
    answer = call(token, "POST", f"/projects/{house.project.id}/keys", {"ports": "22001-22002"})
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    device, relay = answer.json()["device_key"], answer.json()["relay_server_key"]
    assert device["name"] == f"device-{house.project.id}.key"
    assert relay["name"] == f"relay-server-{house.project.id}.key"
    assert relay["content"].startswith(
        f'cert-authority,principals="{house.project.id}",restrict,port-forwarding,command="/bin/false",'
        'permitopen="127.0.0.1:1",permitlisten="22001",permitlisten="22002" ssh-ed25519 '
    )
    forms = forms_of(device["content"].encode())
    logged = caplog.text + "".join(capfd.readouterr())
    for place in (dump_of_database(), call(token, "GET", f"/projects/{house.project.id}/keys").content, logged):
        assert copies_in(place, forms) == []
