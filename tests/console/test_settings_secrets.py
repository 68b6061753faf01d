"""Secrets in settings at the console: sealed to the device's own certified key before anything is stored, and shown nowhere (I15)."""

import base64
import html
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.utils import timezone
from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.keys.making import ensure_signer_keys
from doorward_console.keys.ssh import SshAuthority
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.documents.asking import Change, ask
from doorward_console.maintenance.documents.wanted import wanted_of
from doorward_console.maintenance.models import Desired
from doorward_protocol.sealed import SEALED, SET, opened
from doorward_protocol.signature import SigningKey

from tests.console.commanding import can_all, signer_at_work, who_of
from tests.console.conftest import FOLDER, House, make_house
from tests.console.test_api import call, token_of
from tests.console.test_command_cures import in_between
from tests.console.test_settings_valid import SCHEMA
from tests.console.test_signing import new_signer
from tests.console.visiting import address, client_of, dump_of_database

pytestmark = [pytest.mark.feature("I15"), pytest.mark.django_db]

PLAIN, OTHER = "correct horse battery", "staple of another day"
KEY = X25519PrivateKey.generate()
HOST = Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Sealing:
    """A house whose device has given its key, and what of it is in another's hands."""

    house: House

    def gives(
        self, *, by: Ed25519PrivateKey = HOST, device: str = "", certified_by: SshAuthority | None = None, of: str = ""
    ) -> None:
        """Let the device have given a key: signed ``by``, for ``device``, with a host key ``certified_by`` somebody as ``of``."""
        one = self.house.device
        payload = {
            "type": "key",
            "v": 1,
            "device": device or one.pk,
            "key": base64.b64encode(KEY.public_key().public_bytes_raw()).decode(),
        }
        envelope = json.loads(SigningKey.from_raw(by.private_bytes_raw()).seal("key", json.dumps(payload).encode()))
        line = HOST.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        ca = certified_by or new_signer().keys.host_ca(self.house.project.pk)
        Device.objects.filter(pk=one.pk).update(
            door_host_key=line, door_host_certificate=ca.host_certificate(line, device=of or one.pk)
        )
        SettingsRead.objects.update(key=envelope)
        one.refresh_from_db()

    def opens(self, values: Any) -> Any:
        return opened(values, KEY.private_bytes_raw(), self.house.device.pk)


@pytest.fixture
def sealing(house: House) -> Sealing:
    return sealing_of(house)


def sealing_of(house: House) -> Sealing:
    can_all(house, verbs=["settings-read"])
    ensure_signer_keys(house.project, new_signer().keys.wrapping)
    SettingsRead.objects.create(device=house.device, values=document(dict(SET)), schema=SCHEMA, read_at=timezone.now())
    made = Sealing(house)
    made.gives()
    return made


def document(key: Any, **more: Any) -> dict[str, Any]:
    return {"hostname": "pump-7", "network": {"method": "dhcp", "key": key}, **more}


def test_secret_when_asked_for_then_it_is_sealed_to_this_device_and_place(sealing: Sealing) -> None:
    """What is wanted and signed has it sealed; the device's key opens it."""
    ask(sealing.house.device, Change(document(PLAIN)), who_of(sealing.house))
    signer_at_work(sealing.house)
    values = json.loads(Desired.objects.get(device=sealing.house.device, part="settings").body)["values"]
    assert values["network"]["key"].keys() == {SEALED}
    assert sealing.opens(values) == document(PLAIN)


@pytest.mark.threat("sealed-to-another")
@pytest.mark.parametrize("who", ["nobody", "agent", "other-device", "worker", "other-certificate", "rubbish", "none"])
def test_secret_when_the_key_is_not_the_devices_own_certified_word_then_nothing_is_sealed(
    sealing: Sealing, who: str
) -> None:
    """Signed by another key, for another device, by a host key that another CA or for another device certified: refused."""
    stranger = Ed25519PrivateKey.generate()
    cases: dict[str, dict[str, Any]] = {
        "agent": {"by": stranger}, "other-device": {"device": "d-zzzzzzzzzzzzzzzz"},
        "worker": {"certified_by": SshAuthority.generate()}, "other-certificate": {"of": "d-zzzzzzzzzzzzzzzz"},
    }  # fmt: skip
    if who in cases:
        sealing.gives(**cases[who])
    if who == "nobody":
        Device.objects.update(door_host_certificate="")
        sealing.house.device.refresh_from_db()
    if who in {"rubbish", "none"}:
        SettingsRead.objects.update(key={"payloadType": 3} if who == "rubbish" else None)
    with pytest.raises(NotAsked) as refused:
        ask(sealing.house.device, Change(document(PLAIN)), who_of(sealing.house))
    assert refused.value.code == "settings.no-key"
    assert wanted_of(sealing.house.device).mark == "none"


def test_secret_when_left_as_it_is_then_it_stays_sealed_as_it_was(sealing: Sealing) -> None:
    """Saying that it is set asks for no other; the history names it when it changes, and only then."""
    house = sealing.house
    ask(house.device, Change(document(PLAIN)), who_of(house))
    first = wanted_of(house.device).values
    ask(house.device, Change(document(dict(SET), level="info")), who_of(house))
    assert wanted_of(house.device).values == {**first, "level": "info"}
    ask(house.device, Change(document(OTHER, level="info")), who_of(house))
    assert sealing.opens(wanted_of(house.device).values) == document(OTHER, level="info")


@pytest.mark.real("postgres")
def test_secret_when_one_changes_it_while_another_leaves_it_as_it_is_then_the_new_one_stays(on_postgres: str) -> None:
    """Two at the same moment, of whom one types a new secret and the other does not touch it: it is not brought back."""
    sealing = sealing_of(make_house())
    house, who = sealing.house, who_of(sealing.house)
    ask(house.device, Change(document(PLAIN)), who)
    in_between(
        lambda: ask(house.device, Change(document(OTHER)), who),
        lambda: ask(Device.objects.get(pk=house.device.pk), Change(document(dict(SET), level="info")), who),
    )
    assert sealing.opens(wanted_of(house.device).values) == document(OTHER, level="info")


@pytest.mark.threat("secret-kept", "database-secrets")
def test_secret_after_it_was_typed_is_nowhere(
    sealing: Sealing, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In no table, log, file, page, answer or history, also where the rest of what was typed was wrong."""
    house = sealing.house
    client, path = client_of(house.owner), address("device-settings", house)
    typed = {"/hostname": "pump-8", "/network/method": '"dhcp"', "/network/key": PLAIN, "mark": "none"}
    pages = [client.post(path, {**typed, "/hostname": "Wrong!", "step": "show"}, secure=True)]
    wrong = json.dumps(document(PLAIN, level="loud"))
    as_json = client.post(f"{path}?as=json", {"values": wrong, "mark": "none", "step": "show"}, secure=True)
    shown = client.post(path, {**typed, "step": "show"}, secure=True)
    asked = {name: hidden(shown, name) for name in ("values", "mark")}
    pages += [
        shown,
        client.post(path, {**asked, "step": "back"}, secure=True),
        client.post(path, {**asked, "step": "ask"}, secure=True),
    ]
    token, api = token_of(house.owner), f"/devices/{house.device.pk}/settings"
    pages += [
        call(token, "PUT", api, {"values": document(OTHER)}),
        call(token, "PUT", api, {"values": document(OTHER, level="loud")}),
    ]
    signer_at_work(house)
    pages += [client.get(path, secure=True), client.get(f"{path}?as=json", secure=True), call(token, "GET", api)]
    pages += [client.get(address(name, house), secure=True) for name in ("history", "device")]
    logged = caplog.text + "".join(capfd.readouterr())
    places = [*(page.content.decode() for page in [*pages, as_json]), dump_of_database(), logged]
    places += [one.read_bytes().decode("latin-1") for one in FOLDER.rglob("*") if one.is_file()]
    forms = [
        form
        for plain in (PLAIN, OTHER)
        for form in (plain, base64.b64encode(plain.encode()).decode().rstrip("="), html.escape(plain))
    ]
    assert [form for place in places for form in forms if form in str(place)] == []
    assert [page.status_code for page in pages[:6]] == [409, 200, 200, 302, 202, 409]
    assert as_json.status_code == 409
    assert SEALED not in call(token, "GET", api).content.decode()


def hidden(answer: Any, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', answer.content.decode())
    assert found is not None, name
    return html.unescape(found[1])


@pytest.mark.parametrize("as_json", [False, True])
def test_secret_when_something_else_was_wrong_then_it_need_not_be_typed_again(
    sealing: Sealing, *, as_json: bool
) -> None:
    """It goes with the page, sealed; one that is itself wrong does not."""
    client, path = client_of(sealing.house.owner), address("device-settings", sealing.house)
    form = {"/hostname": "pump-8", "/network/method": '"dhcp"', "/network/key": PLAIN, "step": "show", "mark": "none"}
    wrong = (
        {"values": json.dumps(document(PLAIN, level="loud")), "step": "show", "mark": "none"}
        if as_json
        else {**form, "/hostname": "Wrong!"}
    )
    answer = client.post(path, wrong, secure=True)
    mended = {"values": json.dumps(document(dict(SET)))} if as_json else {**form, "/network/key": ""}
    shown = client.post(
        path, {**mended, "step": "show", "mark": "none", "carried": hidden(answer, "carried")}, secure=True
    )
    assert shown.status_code == 200
    assert "a new secret" in shown.content.decode()
    assert sealing.opens(json.loads(hidden(shown, "values")))["network"]["key"] == PLAIN
    short = client.post(path, {**form, "/network/key": "short"}, secure=True)
    assert short.status_code == 409
    assert 'name="carried"' not in short.content.decode()
