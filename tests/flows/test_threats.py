"""What somebody with a log-in or with the engineers' key cannot do, tried as they would."""

import shutil
from pathlib import Path

import pytest

from tests.house.house import AGENT_USER, LOGIN_USER, Device, House

SSH = (
    "/usr/bin/ssh",
    "-F",
    "none",
    "-o",
    "BatchMode=yes",
    "-o",
    "IdentitiesOnly=yes",
    "-o",
    "StrictHostKeyChecking=no",
)
FOUND = "find /var/lib /run /etc /home -user {user} -type f {more} 2>/dev/null || true"


def try_key(house: House, key: Path, user: str, port: int) -> tuple[int, str]:
    """Try a key at a port of the relay's address, accepting whatever host answers."""
    options = ["-o", "UserKnownHostsFile=/dev/null", "-i", str(key), "-p", str(port)]
    return house.engineer([*SSH, *options, f"{user}@{house.address}", "echo in"])


@pytest.mark.threat("login-reads-agent")
def test_login_when_it_looks_for_the_agents_files_then_it_can_read_none(house: House, device: Device) -> None:
    """Keys, journal and state of agent and runner are there, and the engineer's user can read none of them."""
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    runners = "find /var/lib/doorward-runner -type f -readable 2>/dev/null || true"
    status, said = house.log_in(device, f"{FOUND.format(user=AGENT_USER, more='-readable')}; {runners}")
    assert (status, said) == (0, "")
    hidden = device.machine.must("/bin/sh", "-c", FOUND.format(user=AGENT_USER, more=""))
    assert "identity" in hidden, hidden


@pytest.mark.threat("key-opens-nothing")
def test_key_when_the_door_is_shut_then_it_opens_nothing_anywhere(house: House) -> None:
    """The engineers' key alone finds nobody at the door's port, and is nobody at the relay."""
    assert not house.listens(house.ports.door)
    status, said = try_key(house, house.key, LOGIN_USER, house.ports.door)
    assert status == 255
    assert "refused" in said
    for user in ("doorward-tunnel", "root", LOGIN_USER):
        status, said = try_key(house, house.key, user, house.ports.relay_ssh)
        assert (status, "Permission denied" in said) == (255, True), said


@pytest.mark.threat("key-replaced")
def test_key_when_the_owner_replaced_the_pair_then_the_old_one_is_refused(house: House, device: Device) -> None:
    """The next session admits the new key and not the old one."""
    old = Path(shutil.copy(house.key, house.folder / "old.key"))
    house.make_keys()
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    assert house.log_in(device, "true")[0] == 0
    status, said = try_key(house, old, LOGIN_USER, house.ports.door)
    assert (status, "Permission denied" in said) == (255, True), said
