"""Secrets in settings at the runner: its signed key, what it masks, and that a hook alone ever reads one (I15)."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from doorward_protocol.envelope import decode
from doorward_protocol.sealed import SET, seal
from doorward_protocol.signature import KeyRing

from tests.parts.exposed import held_in_memory, watched
from tests.parts.files import write_whole
from tests.parts.waiting import wait_until
from tests.protocol.cast import DEVICE, command_body
from tests.runner.site import Site
from tests.runner.test_settings import Settable

pytestmark = [pytest.mark.feature("I15"), pytest.mark.timeout(120)]

PLAIN, PATH = "correct horse battery", ("wifi", "password")
SCHEMA = {"properties": {"wifi": {"properties": {"ssid": {}, "password": {"type": "string", "writeOnly": True}}}}}
TALKS = """#!/bin/sh
cat > /dev/null
printf '{"values": %s, "schema": %s}' "$(cat "LIVE")" 'SCHEMA'
"""
LEAKS = """#!/bin/sh
secret=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["arguments"]["values"]["wifi"]["password"])')
wait='while [ -e "{marks}.settings-apply-waits" ]; do sleep 0.05; done'
echo settings-apply >> "{marks}"
{handed}
"""
APPLIED, OVERTAKEN = ["settings-apply"], ["settings-revert", "settings-apply"]
NOT_REVERTED = ["settings-revert", "settings-revert", "settings-apply"]


class Secretive(Settable):
    """A device with a secret setting, whose settings-read says more than it should."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.reads = 0
        assert site.as_root("prepare").returncode == 0
        write_whole(self.live, json.dumps({"wifi": {"ssid": "plant", "password": "what was there before"}}))
        text = TALKS.replace("LIVE", str(self.live)).replace("SCHEMA", json.dumps(SCHEMA))
        write_whole(site.folder / "hooks" / "settings-read", text).chmod(0o755)

    def read(self) -> dict[str, Any]:
        self.reads, last = self.reads + 1, self.site.revision
        self.site.ask({"verb": "status"})
        envelope = self.site.envelope(command_body(verb="settings-read"), part="command", revision=self.reads)
        answer, self.site.revision = self.site.order(envelope), last
        assert answer["code"] is None, answer
        found: dict[str, Any] = answer["result"]
        return found

    def key(self) -> bytes:
        """Read the device's key as the console does: signed by the door's host key."""
        line = json.loads(self.site.as_root("prepare").stdout)["door_host_key"]
        host = load_ssh_public_key(line.encode())
        assert isinstance(host, Ed25519PublicKey)
        ring = KeyRing([base64.b64encode(host.public_bytes_raw()).decode()])
        said = json.loads(ring.verify(decode(json.dumps(self.read()["key"]).encode(), expected="key")))
        assert said["device"] == DEVICE
        return base64.b64decode(said["key"])

    def with_secret(self, path: tuple[str, ...] = PATH, device: str = DEVICE) -> str:
        return self.body({"wifi": {"ssid": "new", "password": seal(self.key(), device, path, PLAIN)}})


@pytest.fixture
def secretive(site: Site) -> Secretive:
    return Secretive(site)


@contextmanager
def held(secretive: Secretive, verb: str, body: str) -> Iterator[None]:
    """Order settings, and have the hook of ``verb`` that runs for them wait meanwhile."""
    waits, before = secretive.let(verb, "waits"), len(secretive.runs)
    ordering = threading.Thread(target=lambda: secretive.order(body))
    ordering.start()
    try:
        wait_until(lambda: secretive.runs[before:][-1:] == [verb], 30, f"{verb} to run")
        yield
    finally:
        waits.unlink()
        ordering.join(30)


def kept(site: Site) -> list[Path]:
    """Give what the runner wrote anywhere."""
    return [path for folder in (site.state_dir, site.run_dir) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.threat("secret-kept")
def test_secret_when_ordered_then_the_hook_reads_it_and_nobody_else(secretive: Secretive) -> None:
    """Opened for the hook's standard input: it is in no answer, file or log of the runner's, on trial and confirmed."""
    body = secretive.with_secret()
    trial = secretive.order(body)
    assert (trial["state"], secretive.values) == ("trying", {"wifi": {"ssid": "new", "password": PLAIN}}), trial
    told = [
        json.dumps(trial),
        json.dumps(secretive.confirm(body, secretive.site.revision)),
        json.dumps(secretive.tell()),
    ]
    told += [json.dumps(secretive.site.ask({"verb": "command"}))]
    told += [path.read_text(errors="replace") for path in kept(secretive.site)]
    assert not [text for text in told if PLAIN in text or base64.b64encode(PLAIN.encode()).decode() in text]


def test_device_when_asked_how_it_is_set_then_a_secret_is_only_said_to_be_set(secretive: Secretive) -> None:
    """Whatever its hook says; not even the device's root-owned note of what was good has it."""
    assert secretive.read()["values"] == {"wifi": {"ssid": "plant", "password": dict(SET)}}
    secretive.order(secretive.with_secret())
    assert "what was there before" not in "".join(path.read_text(errors="replace") for path in kept(secretive.site))


@pytest.mark.threat("sealed-moved")
@pytest.mark.parametrize("why", ["place", "device", "key"])
def test_secret_when_it_is_sealed_for_something_else_then_nothing_is_tried(secretive: Secretive, why: str) -> None:
    """Moved from another field, device or key: refused before a hook runs, and what is in force stays."""
    before = secretive.values
    path, device = (("pin",) if why == "place" else PATH), ("d-zzzzzzzzzzzzzzzz" if why == "device" else DEVICE)
    body = secretive.with_secret(path, device)
    if why == "key":
        (secretive.site.state_dir / "settings_key").unlink()
    assert secretive.order(body)["code"] == "settings.not-opened"
    assert (secretive.values, secretive.runs) == (before, [])


def test_secret_when_confirmed_and_others_fail_then_it_is_put_back(patient: Secretive) -> None:
    """What was good holds it sealed, and the hook that puts back reads it."""
    body = patient.with_secret()
    patient.order(body)
    patient.confirm(body, patient.site.revision)
    failing = patient.let("settings-apply", "fails")
    assert patient.order(patient.body({"wifi": {"ssid": "worse"}}))["state"] == "reverted"
    failing.unlink()
    assert patient.values == {"wifi": {"ssid": "new", "password": PLAIN}}


def test_secret_when_it_is_to_stay_then_the_hook_is_not_told_of_it(secretive: Secretive) -> None:
    """What a device said of it is no value."""
    secretive.order(secretive.body({"wifi": {"ssid": "new", "password": dict(SET)}}))
    assert secretive.values == {"wifi": {"ssid": "new"}}


def test_key_when_told_again_then_it_is_the_same_and_its_file_is_roots_alone(secretive: Secretive) -> None:
    """One pair in a device's life; the private half stays where it is."""
    first = secretive.key()
    file = secretive.site.state_dir / "settings_key"
    before = file.read_text()
    assert (secretive.key(), file.read_text(), file.stat().st_mode & 0o777) == (first, before, 0o600)


@pytest.fixture
def patient(secretive: Secretive) -> Iterator[Secretive]:
    """A device whose trials are not over while somebody looks at it."""
    secretive.site.configure(hooks=[str(secretive.site.folder / "hooks")], trial_s=600)
    yield secretive
    secretive.site.end_timers()


@pytest.mark.threat("secret-kept")
def test_secret_when_hooks_run_then_it_stands_on_their_standard_input_and_in_no_process_list_file_or_log(
    patient: Secretive,
) -> None:
    """Applied; put back as what was good; applied anew where that fails. Looked at all the time, and more closely while a hook waits."""
    body = patient.with_secret()

    def check(verb: str) -> None:
        holders = held_in_memory(PLAIN)
        assert holders
        assert [one for one in holders.values() if f"DOORWARD_VERB={verb}" not in one.split("\0")] == []
        assert [path for path in kept(patient.site) if PLAIN in path.read_text(errors="replace")] == []

    with watched(PLAIN) as seen:
        with held(patient, "settings-apply", body):
            check("settings-apply")
        patient.confirm(body, patient.site.revision)
        patient.order(patient.body({"wifi": {"ssid": "never confirmed"}}))
        with held(patient, "settings-revert", patient.body({"wifi": {"ssid": "overtakes"}})):
            check("settings-revert")
        patient.let("settings-revert", "fails")
        with held(patient, "settings-apply", patient.body({"wifi": {"ssid": "overtakes"}})):
            check("settings-apply")
    assert patient.runs == [*APPLIED, *APPLIED, *OVERTAKEN, *NOT_REVERTED]
    assert patient.values == {"wifi": {"ssid": "new", "password": PLAIN}}
    assert (seen, [line for line in patient.site.log if PLAIN in line]) == (set(), [])
    assert held_in_memory(PLAIN) == {}


@pytest.mark.parametrize("how", ["cmdline", "environ"])
def test_secret_when_a_hook_shows_it_to_others_then_who_looks_at_the_process_list_finds_it(
    patient: Secretive, how: str
) -> None:
    """So the test above can fail: a hook that hands its secret to a program as an argument, or in its environment."""
    handed = {"cmdline": 'sh -c "$wait" sh "$secret"', "environ": 'SECRET="$secret" sh -c "$wait"'}[how]
    script = LEAKS.format(marks=patient.marks, handed=handed)
    write_whole(patient.site.folder / "hooks" / "settings-apply", script).chmod(0o755)
    with watched(PLAIN) as seen, held(patient, "settings-apply", patient.with_secret()):
        wait_until(lambda: seen, 20, "the leak to be seen")
    assert {one.partition(" of ")[0] for one in seen} == {how}
