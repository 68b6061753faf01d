"""The console's database where nothing can be written, or nobody answers: what is asked is refused whole, and it is said whose fault that is."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone
from doorward_console.edges import reserve
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.keys.making import ensure_root, ensure_signer_keys
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance import closing
from doorward_console.maintenance.asking import turn_off, turn_on
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Intent, Order
from doorward_console.maintenance.signing import Signer
from doorward_console.signer import look

from tests.console.conftest import FOLDER, House, make_house, on_disk
from tests.console.test_api import BODIES, OPERATIONS, path_in, token_of
from tests.console.test_init import console, init
from tests.parts.installed import missing
from tests.parts.processes import run

WRITING: Final = [one for one in OPERATIONS if one[0] != "GET"]
LOOKING: Final = [path for method, path in OPERATIONS if method == "GET"]
PAGE_KIB: Final = 4
HERE: Final = "203.0.113.7"
MOST_KIB: Final = 512
NO_DATABASE: Final = "console.no-database"


@pytest.fixture
def disk(scratch: Path) -> Iterator[Path]:
    """A disk of sixteen MiB of its own."""
    if (reason := missing("root")) is not None:
        pytest.skip(reason)
    folder = scratch / "disk"
    folder.mkdir()
    mounted = run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder])
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        run(["/usr/bin/umount", "--lazy", folder])


@pytest.fixture
def house(disk: Path, transactional_db: None) -> Iterator[House]:
    """A house whose rows stand on that disk."""
    with on_disk(disk / "console.sqlite3"):
        cache.clear()
        yield make_house()


def leave_room(disk: Path, kib: int) -> None:
    """Fill the disk but for ``kib``."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("ab", buffering=0) as full, suppress(OSError):
        while os.statvfs(disk).f_bavail * PAGE_KIB > kib:
            full.write(b"x" * PAGE_KIB * 1024)


def rows() -> list[str]:
    """Give all that is written, but for when the token was used last."""
    assert isinstance(connection.connection, sqlite3.Connection)
    return [line for line in connection.connection.iterdump() if "people_apitoken" not in line]


def ask(token: str, method: str, path: str, body: Any) -> Any:
    """Call the API as a web process answers it: what a view raises is answered, too."""
    send = getattr(Client(raise_request_exception=False), method.lower())
    headers = {"authorization": f"Bearer {token}"}
    return send(f"/api/v1{path}", body or {}, content_type="application/json", secure=True, headers=headers)


def wants_open(house: House) -> bool:
    """Tell what the owner's last wish was that was written down."""
    last = Intent.objects.filter(device=house.device).order_by("at").last()
    return last is not None and last.kind == Intent.Kind.ON


@pytest.mark.feature("B17")
@pytest.mark.parametrize(("method", "path"), WRITING)
def test_operation_when_the_disk_is_full_at_any_of_its_writes_then_nothing_is_half_done_and_it_says_why(
    house: House, disk: Path, method: str, path: str
) -> None:
    """With a page more each time: refused with the reason and without a trace, until there is room for the whole."""
    token, there = token_of(house.owner), path_in(house, path)
    before = rows()
    room = 0
    leave_room(disk, room)
    while (answer := ask(token, method, there, BODIES.get((method, path)))).status_code == 503:
        assert answer.json()["code"] == NO_DATABASE
        assert rows() == before
        room += PAGE_KIB
        assert room < MOST_KIB
        leave_room(disk, room)
    assert answer.status_code < 500, answer.content
    assert room > 0 or rows() == before, "it was done without room"
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("path", LOOKING)
def test_operation_when_the_disk_is_full_then_looking_goes_on(house: House, disk: Path, path: str) -> None:
    """A program sees how a door stands, also where it cannot be noted that its token was used."""
    token, there = token_of(house.owner), path_in(house, path)
    leave_room(disk, 0)
    assert ask(token, "GET", there, None).status_code < 500


def test_door_when_the_disk_was_full_and_nothing_was_kept_back_then_on_and_off_are_refused_and_done_once_there_is_room(
    house: House, disk: Path
) -> None:
    """OFF counts as asked when the answer says so, and not before."""
    token, path = token_of(house.owner), f"/devices/{house.device.id}/door"
    for state in ("open", "shut"):
        leave_room(disk, 0)
        refused = ask(token, "POST", path, {"state": state})
        assert (refused.status_code, refused.json()["code"]) == (503, NO_DATABASE)
        assert wants_open(house) == (state == "shut")
        leave_room(disk, MOST_KIB)
        assert ask(token, "POST", path, {"state": state}).status_code == 202


def test_off_when_the_disk_is_full_then_it_is_taken_again_and_again_and_nothing_else_is(
    house: House, disk: Path
) -> None:
    """Whatever fills the disk takes all that is given back and not taken again in time."""
    token, path = token_of(house.owner), f"/devices/{house.device.id}/door"
    reserve.take()
    assert reserve.kept() == reserve.MOST
    for _ in range(20):
        leave_room(disk, 0)
        assert ask(token, "POST", path, {"state": "open"}).status_code == 503
        answer = ask(token, "POST", path, {"state": "shut"})
        assert answer.status_code == 202, answer.content
        Intent.objects.filter(kind=Intent.Kind.OFF).update(state=Intent.State.DONE)
        closing.keep_room(timezone.now())
    assert reserve.kept() > reserve.MOST // 2


def opening(house: House) -> Signer:
    """Ask for the door to be opened, and give the signer that has decided so."""
    keys = SignerKeys(wrapping_key_from_file(FOLDER / "signer_key"))
    ensure_root(keys.wrapping)
    ensure_signer_keys(house.project, keys.wrapping)
    signer = Signer(keys, Ceilings())
    turn_on(house.device, house.owner, HERE, 600, "")
    look(signer)
    return signer


def test_reserve_while_something_is_being_shut_then_it_is_not_taken_again(house: House, disk: Path) -> None:
    """Signer and worker need the room, too; a device or relay that is away keeps it for a minute, not for days."""
    opening(house)
    reserve.take()
    leave_room(disk, 0)
    turn_off(house.device, house.owner, HERE)
    Intent.objects.filter(kind=Intent.Kind.OFF).update(state=Intent.State.DONE)
    closing.keep_room(timezone.now())
    assert reserve.kept() < PAGE_KIB * 1024
    closing.keep_room(timezone.now() + closing.LATELY * 2)
    assert reserve.kept() > reserve.MOST // 2


def test_signer_when_it_finds_no_room_for_an_off_then_the_reserve_is_given_back_and_it_decides(
    house: House, disk: Path
) -> None:
    """Web may have found just enough room for what was asked."""
    signer = opening(house)
    turn_off(house.device, house.owner, HERE)
    reserve.take()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # SQLite's log keeps the length that it once had
    leave_room(disk, 0)
    look(signer)
    assert Intent.objects.filter(kind=Intent.Kind.OFF, state=Intent.State.ASKED).exists(), "it had room"
    look(signer)
    assert not Intent.objects.filter(kind=Intent.Kind.OFF, state=Intent.State.ASKED).exists()
    assert list(Order.objects.filter(state=Order.State.SIGNED)), "no order to shut"


def test_reserve_when_the_disk_is_nearly_full_then_half_of_what_is_free_is_left(house: House, disk: Path) -> None:
    """What is kept back does not itself fill a disk; where nobody shuts anything it is not given back."""
    del house
    leave_room(disk, 1024)
    reserve.take()
    reserve.take()
    assert 400 * 1024 < reserve.kept() <= 512 * 1024
    assert not closing.make_room(timezone.now())
    assert reserve.kept() > 400 * 1024


def test_page_when_the_disk_is_full_then_it_says_that_the_database_does_not_work(house: House, disk: Path) -> None:
    """A person reads whose fault it is and whom to ask; looking goes on."""
    client = Client(raise_request_exception=False)
    client.force_login(house.owner)
    page = f"/projects/{house.project.id}/devices/{house.device.id}/"
    leave_room(disk, 0)
    assert client.get(page, secure=True).status_code == 200
    refused = client.post(f"{page}door/on/", secure=True)
    assert refused.status_code == 503
    assert b"database does not work" in refused.content
    assert b"doorward-console check" in refused.content


def test_check_when_the_disk_is_full_then_it_names_the_folder_and_the_cure(disk: Path) -> None:
    """The first look after that sentence finds the cause."""
    config = init(disk)
    leave_room(disk, 0)
    found = {one["what"]: one for one in json.loads(console(config, "check", "--json").stdout)["findings"]}
    assert not found["disk"]["ok"]
    assert f"{disk}" in found["disk"]["message"]
    assert "Make room" in found["disk"]["next"]
    leave_room(disk, 4096)
    assert b"ok   disk" in console(config, "check").stdout
