"""The console as an installation with root runs it: web, worker and signer, each its own system user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import LOGIN_USER, House
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until

NEEDED = ("root", "mosquitto", "sshd", "ssh", "sudo")


@pytest.fixture
def separated() -> Iterator[House]:
    """A house of its own on the host's loopback."""
    lacking = [reason for part in NEEDED if (reason := missing(part))]
    if lacking:
        pytest.skip("; ".join(lacking))
    with scratch_folder() as folder:
        house = House(folder, Programs(folder), separate=True)
        try:
            house.build()
            house.make_keys()
            yield house
        finally:
            print(house.logs())  # pytest shows it for a test that failed
            house.close()


@pytest.mark.timeout(240)
def test_console_when_its_three_processes_are_three_users_then_the_whole_way_works(separated: House) -> None:
    """On, log-in, off and a history that verifies, with nobody but each process's own user at work."""
    users = {uid_of(separated.parts[name].pid) for name in ("web", "worker", "signer")}
    assert len(users) == 3
    assert 0 not in users
    kept_back = separated.console_machine.inside("/var/lib/doorward-console/console.sqlite3.reserve")
    assert (kept_back.stat().st_mode & 0o777, kept_back.stat().st_size) == (0o660, 4 * 2**20), "each may give it back"
    device, console = separated.device, separated.console
    console.open_door(device.id)
    console.wait_for_door(device.id, "open")
    assert separated.log_in(device, "id -un") == (0, f"{LOGIN_USER}\n")
    console.shut_door(device.id)
    console.wait_for_door(device.id, "shut")
    wait_until(lambda: not separated.listens(separated.ports.door), 5, "the port to be closed")
    console.wait_for_history(("session.closed", "door.closed", "grant.ended"))
    assert separated.verify_history(separated.export_history())["holds"] is True


def uid_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])
