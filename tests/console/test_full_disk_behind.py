"""A full disk under signer and worker, a page of room more each time: what they do is done whole or not at all, and done once there is room."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from doorward_console.edges import reserve
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.history import own
from doorward_console.history.models import Chain, Pending, Record
from doorward_console.history.writing import note
from doorward_console.keys.making import ensure_signer_keys, ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.maintenance.asking import extend, turn_off, turn_on
from doorward_console.maintenance.models import Command, Intent, Session
from doorward_console.signer import look
from doorward_console.worker import hearing
from doorward_protocol.ids import DeviceId

from tests.console.conftest import House, make_house
from tests.console.test_full_disk import HERE, MOST_KIB, PAGE_KIB, disk, house, leave_room, opening, rows
from tests.console.test_nights import worker_at
from tests.console.visiting import open_session, reboot_of
from tests.worlds.scripted_device import ScriptedDevice

__all__ = ["disk", "house"]
pytestmark = [pytest.mark.real("root"), pytest.mark.feature("E9")]

ROUNDS: Final = 3
"""Of a worker: one finds no room, and the next ones have it."""

Step = tuple[Callable[[], object], Callable[[], bool]]
"""What is tried, and whether it is done."""
RECORDS: Final = 20


def cut_log() -> None:
    """Leave SQLite's log no room of its own: it keeps the length that it once had."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def nothing_is_asked() -> bool:
    return not Intent.objects.filter(state=Intent.State.ASKED).exists()


def signer_opens(house: House) -> Step:
    signer = opening(house)
    other = make_house("mill")
    ensure_signer_keys(other.project, signer.keys.wrapping)
    turn_on(other.device, other.owner, HERE, 600, "")
    return lambda: look(signer), nothing_is_asked


def signer_extends(house: House) -> Step:
    signer = opening(house)
    house.device.sessions.update(state="open", opened_at=timezone.now())
    extend(house.device, house.owner, HERE, 900)
    return lambda: look(signer), nothing_is_asked


def signer_shuts(house: House) -> Step:
    signer = opening(house)
    turn_off(house.device, house.owner, HERE)
    return lambda: look(signer), nothing_is_asked


def worker_keys(house: House) -> WorkerKeys:
    keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
    ensure_worker_keys(house.project, keys.wrapping)
    return keys


def worker_chains(house: House) -> Step:
    keys = worker_keys(house)
    for _ in range(RECORDS):
        note(house.project, "device.changed", device=house.device.id)
    return lambda: own.chain_pending(keys), lambda: not Pending.objects.exists()


def worker_hears_records(house: House) -> Step:
    keys, device = worker_keys(house), ScriptedDevice(DeviceId(house.device.id))
    author, session = f"device:{device.device}", open_session(house)
    Chain.objects.create(project=house.project, author=author, public_key=device.key.public)
    came = {str(device.device): [device.record("door.lost", session.pk, code="tunnel.lost") for _ in range(RECORDS)]}
    return (
        lambda: hearing.hear_devices(came, keys, lambda _: lambda _: True, timezone.now()),
        lambda: (
            Record.objects.filter(author=author).count() == RECORDS and bool(Session.objects.get(pk=session.pk).code)
        ),
    )


def worker_hears_of_a_command(house: House) -> Step:
    keys, device, command = worker_keys(house), ScriptedDevice(DeviceId(house.device.id)), reboot_of(house)
    Command.objects.filter(pk=command.pk).update(state=Command.State.ORDERED)
    Chain.objects.create(project=house.project, author=f"device:{device.device}", public_key=device.key.public)
    outcome = {"code": None, "status": 0, "said": "x" * 4_000, "result": None, "lasted_ms": 1}
    told = [
        device.record("command.begun", command=command.pk),
        device.record("command.done", command=command.pk, **outcome),
    ]
    return (
        lambda: hearing.hear_devices({str(device.device): told}, keys, lambda _: lambda _: True, timezone.now()),
        lambda: Command.objects.get(pk=command.pk).state == Command.State.DONE,
    )


def worker_hears_an_ask(house: House) -> Step:
    device = ScriptedDevice(DeviceId(house.device.id), nonce="z" * 22)
    said = {str(device.device): [device.ask_bytes(facts={"hostname": "x" * 200})]}
    return lambda: hearing.hear_asks(said, timezone.now()), lambda: type(house.device).objects.get().nonce == "z" * 22


@pytest.mark.parametrize(
    "prepare",
    [
        signer_opens,
        signer_extends,
        signer_shuts,
        worker_chains,
        worker_hears_records,
        worker_hears_of_a_command,
        worker_hears_an_ask,
    ],
)
def test_step_when_the_disk_is_full_at_any_of_its_writes_then_it_is_done_whole_or_not_and_done_once_there_is_room(
    house: House, disk: Path, prepare: Callable[[House], Step]
) -> None:
    """Nothing is half done, nothing that waits is lost, and no file of the database is hurt."""
    act, is_done = prepare(house)
    room = 0
    while not is_done():
        cut_log()
        before = rows()
        leave_room(disk, room)
        with suppress(OperationalError):
            act()
        assert is_done() or rows() == before
        room += PAGE_KIB
        assert room < MOST_KIB
    assert room > PAGE_KIB, "it was done without room"
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_worker_when_it_finds_no_room_for_an_off_then_the_reserve_is_given_back_and_it_goes_on(
    house: House, disk: Path
) -> None:
    """Web and signer may have found just enough room for their part of it."""
    worker_keys(house)
    look(opening(house))
    turn_off(house.device, house.owner, HERE)
    reserve.take()
    cut_log()
    leave_room(disk, 0)
    rounds = itertools.count(1)
    with worker_at([timezone.now()]) as worker:
        worker.run(lambda: worker.stop() if next(rounds) == ROUNDS else None)
    assert reserve.kept() < PAGE_KIB * 1024
    assert not Pending.objects.exists(), "what was done is in nobody's chain"
