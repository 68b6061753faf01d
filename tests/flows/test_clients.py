"""Engineers' programs through every kind of relay, door and tunnel, in the combinations that meet in the field."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.parts import may_give_terminals

from tests.flows.newcomer import newcomer_with_account
from tests.house.clients import CLIENTS, NEEDED, WayIn, ansible
from tests.house.house import LOGIN_USER, Device, House
from tests.parts.installed import missing
from tests.parts.processes import run
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.real("root", "mosquitto", "sshd", *NEEDED)]

COMBINATIONS = [
    ("embedded", "embedded", "embedded"),
    ("embedded", "sshd", "ssh"),
    ("plain", "embedded", "ssh"),
    ("plain", "sshd", "embedded"),
]
"""Relay, door, tunnel: each pair of neighbours is met once."""


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Iterator[WayIn]:
    """An open door of an ordinary user's trial."""
    lacking = [reason for part in ("root", "mosquitto", "sshd", "ssh") if (reason := missing(part))]
    if lacking:
        pytest.skip("; ".join(lacking))
    with newcomer_with_account() as newcomer:
        driver = subprocess.Popen(
            newcomer.command(sys.executable, Path(__file__).with_name("trial_driver.py"), *request.param),
            env=newcomer.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert driver.stdin is not None
        assert driver.stdout is not None
        try:
            said = json.loads(driver.stdout.readline())
            key, known_hosts = newcomer.folder / "key", newcomer.folder / "known_hosts"
            key.touch(mode=0o600)
            key.write_bytes(Path(said["key"]).read_bytes())
            known_hosts.write_bytes(Path(said["known_hosts"]).read_bytes())
            place = (key, known_hosts, said["alias"], newcomer.folder)
            has_terminals = request.param[1] == "embedded" or may_give_terminals()
            yield WayIn(said["host"], said["port"], said["user"], *place, has_terminals)
        finally:
            driver.stdin.close()
            driver.wait(60)
            driver.stdout.close()
        assert newcomer.left() == []


@pytest.mark.feature("E4", "T5", "E2")
@pytest.mark.parametrize("client", CLIENTS)
def test_client_when_a_trials_door_is_open_then_it_logs_in_and_carries(way: WayIn, client: str) -> None:
    """Whatever the relay, the door and the tunnel are made of, the engineer's program does not notice."""
    CLIENTS[client](way, run)


@pytest.fixture
def managed_way(house: House, device: Device) -> WayIn:
    """The open door of the house's device, behind its managed relay, seen from the engineer's network."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    house.ssh_options(device.id)  # writes the known_hosts line
    return WayIn(
        house.address, house.ports.door, LOGIN_USER, house.key, house.folder / "known_hosts", device.id, house.folder
    )


@pytest.mark.feature("E4")
@pytest.mark.parametrize("client", [*CLIENTS, "ansible"])
def test_client_when_the_door_is_open_behind_a_managed_relay_then_it_logs_in_and_carries(
    house: House, managed_way: WayIn, client: str
) -> None:
    """The same programs, and ``ansible -m ping``, through OpenSSH at relay and door."""
    assert house.network is not None
    wired = ["/usr/bin/nsenter", f"--net=/proc/{house.network.outside}/ns/net", "--"]

    def from_outside(argv: list[str | Path], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        home = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(house.folder), "LANG": "C.UTF-8"}
        return run([*wired, *argv], stdin=stdin, env=home, limit_s=60)

    {**CLIENTS, "ansible": ansible}[client](managed_way, from_outside)
    wait_until(lambda: house.banner(house.ports.door), 10, "the door, as before")
