"""Plain relays in the console: added by what their owner knows, changed, removed, and their line handed out again."""

from html import unescape
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from django.core.cache import cache
from doorward_console.declined import Declined
from doorward_console.fleet.models import Device, Relay
from doorward_console.fleet.plain_relays import host_keys_from_text
from doorward_console.history.models import Pending
from doorward_console.keys.making import ensure_signer_keys
from doorward_console.keys.models import Key
from doorward_console.keys.ssh import openssh_fingerprint
from doorward_console.maintenance.asking import turn_on
from doorward_console.maintenance.models import Desired, Grant, Intent
from doorward_console.maintenance.signing import decide
from doorward_protocol.orders import OpenDoor, body_from_text

from tests.console.conftest import ED25519_LINE, House, make_house
from tests.console.test_api import call, token_of
from tests.console.test_signing import HERE, new_signer
from tests.console.visiting import address, ask, client_of, open_session

pytestmark = pytest.mark.feature("E2")

TYPED = {
    "name": "Customer",
    "host": "relay.example.org",
    "ssh_port": "2022",
    "user": "gateway",
    "host_keys": ED25519_LINE,
}


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction."""
    cache.clear()
    return make_house()


def plain_of(house: House, **changes: Any) -> Relay:
    """Write a plain relay into the database."""
    standard: dict[str, Any] = {"name": "Customer", "host": "relay.example.org", "tunnel_user": "gateway"}
    standard |= {"ssh_host_keys": [ED25519_LINE], "kind": "plain"}
    made: Relay = Relay.objects.create(project=house.project, **(standard | changes))
    return made


def test_plain_relay_when_added_then_its_page_says_what_to_do_there_and_what_it_cannot_do(house: House) -> None:
    """The page has the two copies to make, the fingerprint to compare, and the limits in plain words."""
    client = client_of(house.owner)
    answer = ask(client, "POST", address("relays-plain", house), **TYPED)
    made = Relay.objects.get(kind="plain")
    assert answer["Location"].endswith(f"/relays/{made.id}/")
    assert (made.host, made.ssh_port, made.tunnel_user) == ("relay.example.org", 2022, "gateway")
    page = unescape(ask(client, "GET", answer["Location"]).content.decode())
    for said in (
        f"cat relay-server-{house.project.id}.key >> ~/.ssh/authorized_keys", "GatewayPorts yes",
        "ClientAliveCountMax 3", openssh_fingerprint(ED25519_LINE), "does not say who connected", "does not take the port over",
        "closes nothing by itself",
    ):  # fmt: skip
        assert said in page
    listed = ask(client, "GET", address("relays", house)).content.decode()
    assert "those in its line" in listed
    assert "Last answer" not in page  # nothing there would answer, and a door that is looked at says so by its colour
    assert Pending.objects.get(verb="relay.added").data["ssh_host_keys"] == [ED25519_LINE]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": " "}, "relay.name"),
        ({"name": "relay"}, "relay.name-taken"),
        ({"host": "ssh://relay"}, "relay.host"),
        ({"host": "-oProxyCommand=x"}, "relay.host"),
        ({"host": ""}, "relay.host"),
        ({"ssh_port": "0"}, "relay.port"),
        ({"ssh_port": "ssh"}, "relay.port"),
        ({"user": "-l"}, "relay.user"),
        ({"user": "a b"}, "relay.user"),
        ({"host_keys": ""}, "relay.host-key"),
        ({"host_keys": "ssh-ed25519 AAAA"}, "relay.host-key"),
        ({"host_keys": "SHA256:abcdef"}, "relay.host-key"),
        ({"host_keys": f"@cert-authority * {ED25519_LINE}"}, "relay.host-key"),
    ],
)
def test_plain_relay_when_something_typed_cannot_be_then_declined_with_what_was_typed_kept(
    house: House, changes: dict[str, str], code: str
) -> None:
    """The form comes again with its sentence and all that was typed; the API says the code."""
    typed = TYPED | changes
    answer = ask(client_of(house.owner), "POST", address("relays-plain", house), **typed)
    assert answer.status_code == 400
    assert typed["host"] in unescape(answer.content.decode())
    body = {**{name: typed[name] for name in ("name", "host", "user")}, "ssh_host_keys": [typed["host_keys"]]}
    if code != "relay.port":
        path = f"/projects/{house.project.id}/relays/plain"
        said = call(token_of(house.owner), "POST", path, body)
        assert (said.status_code, said.json()["code"]) == (409, code)
    assert not Relay.objects.filter(kind="plain").exists()


@pytest.mark.parametrize(
    "text",
    [
        ED25519_LINE,
        f"{ED25519_LINE} root@relay",
        f"relay.example.org {ED25519_LINE}",
        f"# relay.example.org:22 SSH-2.0-OpenSSH_9.2\n[relay.example.org]:2022 {ED25519_LINE}\n",
        f"{ED25519_LINE}\n\n{ED25519_LINE} twice",
        f"ecdsa-sha2-nistp521 AAAA of-a-type-that-devices-do-not-accept\n{ED25519_LINE}",
    ],
)
def test_host_keys_when_pasted_as_programs_print_them_then_read(text: str) -> None:
    """Out of ssh-keyscan, a known_hosts or a .pub file: the key is what is kept."""
    assert host_keys_from_text(text) == (ED25519_LINE,)


def test_host_keys_of_no_type_that_devices_accept_then_said_at_the_form_and_not_by_the_device() -> None:
    """The device would refuse the whole order."""
    with pytest.raises(Declined, match="ssh-ed25519"):
        host_keys_from_text("ecdsa-sha2-nistp521 AAAA")


def test_plain_relay_when_changed_then_not_moved_under_a_live_door(house: House) -> None:
    """A new host key may be entered at any time; the address not while an engineer has a line with the old one."""
    relay = plain_of(house)
    open_session(house, relay=relay)
    path, token = f"/relays/{relay.id}/plain", token_of(house.owner)
    body = {"name": "Renamed", "host": relay.host, "user": "gateway", "ssh_host_keys": [ED25519_LINE]}
    assert call(token, "PUT", path, body).json()["name"] == "Renamed"
    moved = call(token, "PUT", path, body | {"host": "elsewhere.example.org"})
    assert (moved.status_code, moved.json()["code"]) == (409, "relay.door-live")
    other = call(token, "PUT", f"/relays/{house.relay.id}/plain", body)
    assert (other.status_code, other.json()["code"]) == (409, "relay.not-plain")


@pytest.mark.feature("E3")
def test_way_through_a_plain_relay_then_one_device_a_port_and_the_public_address_alone(house: House) -> None:
    """Two devices on one port are refused as everywhere; its loopback, which nobody here can see, is too."""
    relay, token = plain_of(house), token_of(house.owner)
    other = Device.objects.create(project=house.project, name="press 2", state="joined")
    way = {"relay": relay.id, "port": 22011}
    assert call(token, "PUT", f"/devices/{house.device.id}/way", way).status_code == 200
    taken = call(token, "PUT", f"/devices/{other.id}/way", way)
    assert (taken.status_code, taken.json()["code"]) == (409, "device.port-taken")
    hidden = call(token, "PUT", f"/devices/{other.id}/way", way | {"port": 22012, "bind": "localhost"})
    assert (hidden.status_code, hidden.json()["code"]) == (409, "device.bind-plain")


@pytest.mark.feature("E1")
def test_line_when_ports_were_added_since_then_keys_page_names_them_until_it_is_downloaded(house: House) -> None:
    """The page names relay, port and device; a download with the port in it, and it says nothing more."""
    Key.objects.create(project=house.project, kind="tunnel-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    client, relay = client_of(house.owner), plain_of(house)
    first = ask(client, "GET", address("relay-file", house)).content.decode()
    assert 'permitlisten="22001"' in first
    Device.objects.filter(pk=house.device.pk).update(relay=relay, relay_port=22050)
    page = " ".join(unescape(ask(client, "GET", address("keys", house)).content.decode()).split())
    assert "New since it was last downloaded" in page
    assert "Customer: port 22050 of press 1" in page
    relays_page = ask(client, "GET", f"/projects/{house.project.id}/relays/{relay.id}/").content.decode()
    assert "port 22050 of press 1" in relays_page
    again = ask(client, "GET", address("relay-file", house)).content.decode()
    assert 'permitlisten="22001"' in again
    assert 'permitlisten="22050"' in again
    assert "New since" not in ask(client, "GET", address("keys", house)).content.decode()
    chosen = ask(client, "GET", address("relay-file", house), ports="22050-22051").content.decode()
    assert chosen.count("permitlisten") == 2
    over_the_api = call(token_of(house.owner), "POST", f"/projects/{house.project.id}/keys/relay-file", {})
    assert over_the_api.json()["content"] == chosen


@pytest.mark.feature("E3")
@pytest.mark.threat("tunnel-certificate")
@pytest.mark.parametrize("kind", ["plain", "managed"])
def test_on_at_a_relay_then_the_certificate_names_the_project_at_a_plain_one_alone(
    transactional_db: None, kind: str
) -> None:
    """A plain relay needs no grant; the project's name opens plain relays, and no other certificate has it."""
    cache.clear()
    house = make_house()
    Relay.objects.update(kind=kind)
    signer = new_signer()
    ensure_signer_keys(house.project, signer.keys.wrapping)
    intent = turn_on(house.device, house.owner, HERE, 600)
    assert isinstance(intent, Intent)
    decide(signer, intent.id)
    body = body_from_text("door", Desired.objects.get().body)
    assert isinstance(body, OpenDoor)
    certificate = load_ssh_public_identity(body.relays[0].certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    names = {body.session, house.project.id} if kind == "plain" else {body.session}
    assert {name.decode() for name in certificate.valid_principals} == names
    assert Grant.objects.count() == (0 if kind == "plain" else 1)
