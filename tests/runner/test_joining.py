"""The runner's part in joining: root's own commands, never the agent's."""

import json
import os
from typing import Any

import pytest

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.processes import run
from tests.parts.sshd import make_ssh_key
from tests.protocol.cast import STRANGER, named
from tests.runner.site import Site


def _host_key(site: Site) -> str:
    line: str = json.loads(site.as_root("prepare").stdout)["door_host_key"]
    return line


def _certified(site: Site, public_line: str, *options: str) -> str:
    """Have a host CA certify a key."""
    if not (site.folder / "ca").exists():
        make_ssh_key(site.folder / "ca")
    public = write_whole(site.folder / "certified.pub", public_line + "\n")
    made = run([require("ssh").with_name("ssh-keygen"), "-q", "-s", site.folder / "ca", "-I", "x", *options, public])
    assert made.returncode == 0, made.stderr.decode()
    return (site.folder / "certified-cert.pub").read_text().strip()


@pytest.mark.feature("B3")
def test_prepare_when_run_twice_then_the_host_key_is_made_once_and_stays_roots(site: Site) -> None:
    """The private half is made on the device, by root, and never leaves."""
    first = _host_key(site)
    assert first == _host_key(site)
    assert first.startswith("ssh-ed25519 AAAA")
    key = site.state_dir / "door_host_key"
    assert (key.stat().st_mode & 0o777, key.stat().st_uid, site.state_dir.stat().st_mode & 0o777) == (0o600, 0, 0o700)


def test_pin_when_something_is_pinned_then_only_again_replaces_it(site: Site) -> None:
    """A device that has joined is not taken over by a second joining unless root says so."""
    before = (site.state_dir / "pins.json").read_text()
    refused = site.pin(grant_keys=[STRANGER.public])
    assert refused.returncode == 1
    assert b"--again" in refused.stderr
    assert (site.state_dir / "pins.json").read_text() == before
    assert site.pin("--again", grant_keys=[STRANGER.public]).returncode == 0
    assert (site.state_dir / "pins.json").read_text() != before


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "d-1"}, {"project": "../x"}, {"grant_keys": []}, {"grant_keys": ["AAAA"]}, {"grant_keys": "x"},
        {"host_certificate": "ssh-ed25519 AAAA"}, {"host_certificate": 3},
    ],
    ids=str,
)  # fmt: skip
def test_pin_when_what_comes_is_wrong_then_nothing_is_pinned(site: Site, changes: dict[str, Any]) -> None:
    """A pin is whole or it is not."""
    before = (site.state_dir / "pins.json").read_text()
    assert site.pin("--again", **changes).returncode == 1
    assert (site.state_dir / "pins.json").read_text() == before


def test_pin_when_certificate_is_no_hosts_or_for_another_key_then_it_is_refused(site: Site) -> None:
    """sshd would not show it, or would show it for a key that it does not have."""
    mine = _host_key(site)
    other = make_ssh_key(site.folder / "other")
    assert site.pin("--again", host_certificate=_certified(site, mine)).returncode == 1
    assert site.pin("--again", host_certificate=_certified(site, other, "-h")).returncode == 1
    assert site.pin("--again", host_certificate=_certified(site, mine, "-h")).returncode == 0


def test_pin_when_device_joins_another_project_then_its_counters_start_anew(site: Site) -> None:
    """Another console counts from one; what ended here stays ended."""
    answer = site.open()
    site.ask({"verb": "close", "session": answer["session"]})
    assert site.pin("--again").returncode == 0
    assert json.loads((site.state_dir / "promise.json").read_text())["revision"] == 1
    assert site.pin("--again", project=named("p", "other")).returncode == 0
    assert json.loads((site.state_dir / "promise.json").read_text())["revision"] == 0
    assert site.ended() == [answer["session"]]


@pytest.mark.parametrize("folder", ["state", "run"])
def test_runner_when_others_could_write_its_folders_then_it_refuses_to_work(site: Site, folder: str) -> None:
    """A folder that another user may write to is no place for pins or keys: exit 78, nothing opened."""
    site.ask({"verb": "status"})
    (site.folder / folder).chmod(0o777)
    ran = site.as_root(stdin=b'{"verb":"status"}\n')
    assert (ran.returncode, ran.stdout) == (78, b"")
    assert os.fsencode(site.folder / folder) in ran.stderr
    (site.folder / folder).chmod(0o700)
