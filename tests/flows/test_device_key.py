"""The device key: the printed line with which it logs in as it stands, and that it is kept nowhere after it was shown."""

import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import LOGIN_USER, Device, House
from tests.parts.files import write_whole
from tests.parts.key_copies import copies_in, forms_of

pytestmark = pytest.mark.timeout(240)


def follow_the_line(house: House, ssh_line: str, known_hosts_line: str) -> tuple[int, str]:
    """Run the printed line as it stands, in a folder with the downloaded key and a file with the known_hosts line."""
    place = house.folder / "engineer"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    write_whole(place / f"device-{house.console.project}.key", house.key.read_bytes(), 0o600)
    known = write_whole(place / "known_hosts", known_hosts_line + "\n")
    strict = ["-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    try:
        return house.engineer(["/usr/bin/env", "-C", str(place), *shlex.split(ssh_line), *strict, "id -un"])
    finally:
        shutil.rmtree(place)


@pytest.mark.feature("E4")
def test_printed_line_when_the_door_is_open_then_it_logs_in_as_it_stands(house: House, device: Device) -> None:
    """What the console prints for the engineer needs nothing but the key beside it and the known_hosts line."""
    house.console.open_door(device.id)
    lines = house.console.wait_for_door(device.id, "open")["lines"]
    assert follow_the_line(house, lines["ssh"], lines["known_hosts"]) == (0, f"{LOGIN_USER}\n")


def test_printed_line_when_known_hosts_is_another_devices_then_it_is_refused(house: House, device: Device) -> None:
    """Every device has a known_hosts line of its own: with another one's the client does not even try to log in."""
    house.console.open_door(device.id)
    lines = house.console.wait_for_door(device.id, "open")["lines"]
    marker, name, key = lines["known_hosts"].split(" ", 2)
    assert name == device.id
    other = "d-" + device.id.removeprefix("d-")[::-1]
    status, said = follow_the_line(house, lines["ssh"], f"{marker} {other} {key}")
    assert (status, "Host key verification failed" in said) == (255, True), said


def test_device_key_when_it_was_shown_then_it_is_nowhere_but_with_the_engineer(house: House, device: Device) -> None:
    """No process of any machine has it in its command line or environment, no file of theirs, no log, no backup."""
    house.make_keys()
    house.console.open_door(device.id)
    house.console.wait_for_door(device.id, "open")
    assert house.log_in(device, "true")[0] == 0
    needles = forms_of(house.key.read_bytes())
    back_up_database(house)
    assert set(places_of(needles, files_of(house.folder))) == {str(house.key)}
    assert not [*places_of(needles, files_of_processes())]


def back_up_database(house: House) -> None:
    """Copy the database as a nightly backup does, beside the machines' folders."""
    copy = house.folder / "console.sqlite3.backup"
    copy.unlink(missing_ok=True)
    kept = house.console_machine.folder / "var/lib/doorward-console/console.sqlite3"
    with sqlite3.connect(kept) as database:
        database.execute("VACUUM INTO ?", (str(copy),))
    database.close()
    assert copy.stat().st_size > 10_000


def files_of(folder: Path) -> Iterator[Path]:
    """Walk every file of every machine, and the logs of all programs."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    names = {path.relative_to(folder).parts[0] for path in found}
    assert {"console", "relay", "pump-7"} <= names, names
    assert any(path.suffix == ".log" for path in found)
    yield from found


def files_of_processes() -> Iterator[Path]:
    """Walk command lines and environments; a machine's processes stand in the host's list too."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            yield from (process / "cmdline", process / "environ")


def places_of(needles: list[bytes], paths: Iterator[Path]) -> Iterator[str]:
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue  # it ended or was removed meanwhile
        if copies_in(content, needles):
            yield str(path)
