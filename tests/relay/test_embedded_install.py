"""Installing and serving an embedded relay: any user, any folder, its own kind."""

import json
import os
from pathlib import Path

import pytest

from tests.parts.installed import require
from tests.parts.ports import free_ports, neighbours
from tests.parts.processes import Programs, run
from tests.relay.conftest import installed_relay
from tests.relay.relaying import EMBEDDED, PROGRAM, Console, install_relay, of_embedded

pytestmark = [of_embedded, pytest.mark.real("ssh")]


AS_ORDINARY_USER = (
    "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip
"""Nobody's rights; the one capability only lets the checkout be read below a closed home."""


@pytest.mark.feature("E8")
@pytest.mark.real("root", "setpriv")
def test_an_ordinary_user_when_he_installs_and_serves_then_no_root_is_needed(
    programs: Programs, scratch: Path, kind: str
) -> None:
    """Also in a folder whose path has blanks and is longer than a unix socket's name may be."""
    home = scratch / "an ordinary user's folder" / ("long " * 20).strip()
    home.mkdir(parents=True)
    os.chown(home, 65534, 65534)
    config = home / "relay.toml"
    ports = "23900-23907"
    ssh_port, control_port = free_ports(2)
    as_user: list[str | Path] = [require("setpriv"), *AS_ORDINARY_USER, PROGRAM]
    installed = run(
        [
            *as_user, "install", "--embedded", "--config", config, "--host", "127.0.0.1", "--listen", "127.0.0.1",
            "--ssh-port", str(ssh_port), "--control-port", str(control_port), "--ports", ports,
            "--state-dir", home / "state", "--run-dir", home / "run", "--yes",
        ]
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr.decode()
    said = installed.stdout.decode()
    assert all(str(home / "state" / name) in said for name in ("tls.key", "record.key", "ssh_host_ed25519_key"))
    assert said.strip().splitlines()[-1].startswith(f"doorward-relay-1 127.0.0.1 {control_port} sha256:")
    assert {path.stat().st_uid for path in home.rglob("*")} == {65534}
    assert (home / "state").stat().st_mode & 0o777 == 0o700

    daemon = programs.start(*as_user, "serve", "--config", config, name="ordinary")
    daemon.wait_for_port(ssh_port)
    daemon.wait_for_port(control_port)
    status = run([*as_user, "status", "--json", "--config", config])
    found = json.loads(status.stdout)
    assert (found["ok"], found["daemon"], found["kind"]) == (True, True, EMBEDDED)
    assert daemon.end() == 0


def test_a_command_when_it_is_for_the_other_kind_then_it_says_which(
    programs: Programs, scratch: Path, kind: str
) -> None:
    """`run` and `serve` do not stand in for one another; a managed relay is not turned into an embedded one."""
    relay = install_relay(programs, scratch / "relay", neighbours(4), kind)
    status, _, errors = relay.command("run")
    assert (status, "doorward-relay serve" in errors) == (78, True)
    text = relay.config_file.read_text().replace('"embedded"', '"managed"')
    relay.config_file.write_text(text)
    status, _, errors = relay.command("serve")
    assert (status, "doorward-relay run" in errors) == (78, True)
    status, _, errors = relay.command("install", "--embedded", "--yes")
    assert (status, "is a managed relay's" in errors) == (78, True)


def test_a_configuration_when_its_kind_is_none_then_it_is_refused(scratch: Path, kind: str) -> None:
    """A misspelt kind is a fault of the file."""
    (scratch / "relay.toml").write_text('host = "x"\nkind = "plain"\n')
    ran = run([PROGRAM, "serve", "--config", scratch / "relay.toml"])
    assert ran.returncode == 78
    assert b"kind: is none of managed, embedded" in ran.stderr


def test_a_pairing_when_it_is_done_then_the_relay_says_its_kind(programs: Programs, scratch: Path, kind: str) -> None:
    """The console knows an embedded relay by its own word."""
    console = Console(installed_relay(programs, scratch / "relay", kind), scratch)
    assert console.pair()["kind"] == kind
