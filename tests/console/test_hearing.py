"""Asks that come together are taken together, and each is judged as if it had come alone."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device
from doorward_console.history.models import Chain
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.worker import hearing
from doorward_console.worker.events import Event, MessageCame
from doorward_console.worker.relay_links import RelayLinks
from doorward_console.worker.runtime import Runtime
from doorward_protocol.asks import DoorReport
from doorward_protocol.digests import Digest, digest_of
from doorward_protocol.ids import DeviceId, SessionId
from doorward_protocol.records import Head
from doorward_protocol.revisions import Revision

from tests.console.conftest import House, make_house
from tests.worlds.scripted_device import ScriptedDevice


def _devices(house: House, count: int) -> list[ScriptedDevice]:
    rows = [
        Device(project=house.project, name=f"press {count}-{n}", state="joined", joined_at=timezone.now())
        for n in range(count)
    ]
    Device.objects.bulk_create(rows)
    return [ScriptedDevice(DeviceId(row.pk)) for row in rows]


def _hear(asks: Mapping[str, Sequence[bytes]]) -> int:
    """Take asks and count the database's statements."""
    with CaptureQueriesContext(connection) as statements:
        hearing.hear_asks(asks, timezone.now())
    return len(statements)


@pytest.mark.feature("B15")
def test_asks_when_many_devices_ask_at_once_then_they_cost_the_statements_of_few(house: House) -> None:
    """Nothing is looked up or written device by device for those who are as they should be."""
    few, many = _devices(house, 2), _devices(house, 20)
    first = _hear({one.device: [one.ask_bytes()] for one in few})
    second = _hear({one.device: [one.ask_bytes()] for one in many})
    assert second == first
    assert all(Device.objects.get(pk=one.device).ask_count == 1 for one in (*few, *many))


def test_asks_when_one_device_asked_twice_and_the_first_comes_late_then_the_newest_counts(house: House) -> None:
    """The order of arrival does not bring old nonces back."""
    (device,) = _devices(house, 1)
    old, new = device.ask_bytes(nonce="o" * 22), device.ask_bytes(nonce="y" * 22)
    _hear({device.device: [new, old]})
    assert Device.objects.get(pk=device.device).nonce == "y" * 22


def _hear_two_and_look(house: House) -> None:
    """Hear two devices at once, of which only the second says what may also be left out; look at what is stored."""
    plain, full = sorted(_devices(house, 2), key=lambda one: one.device)
    door = DoorReport(
        "OPEN", SessionId("s-aaaaaaaaaaaaaaaa"), Revision(2, 7), Digest("sha256:" + "0" * 64), "tunnel.lost"
    )
    _hear({
        plain.device: [plain.ask_bytes(runner_nonce=None)],
        full.device: [full.ask_bytes(door=door, facts={"hostname": "it's 100 % \u65e5"})],
    })  # fmt: skip
    first, second = Device.objects.order_by("pk").filter(name__startswith="press 2-")
    assert (first.runner_nonce, first.door_session, first.door_code, first.door_revision) == (None, None, None, 0)
    assert (second.runner_nonce, second.door_session, second.door_code) == ("r" * 22, door.session, door.code)
    assert (second.door_state, second.door_epoch, second.door_revision, second.door_digest) == (
        "OPEN",
        2,
        7,
        door.digest,
    )
    assert second.facts == {"hostname": "it's 100 % \u65e5"}
    assert first.seen_at == second.seen_at is not None
    assert first.presence == "connected"


def test_asks_when_stored_together_then_each_row_has_its_own_values(house: House) -> None:
    """One statement writes them all, and what one leaves out is not another's."""
    _hear_two_and_look(house)


@pytest.mark.real("postgres")
@pytest.mark.usefixtures("on_postgres")
def test_asks_when_stored_together_on_postgres_then_each_row_has_its_own_values(django_db_blocker: Any) -> None:
    """PostgreSQL has to be told the types, for the first row may say nothing in a column."""
    with django_db_blocker.unblock():
        _hear_two_and_look(make_house())


@pytest.mark.real("postgres")
@pytest.mark.usefixtures("on_postgres")
def test_asks_when_one_says_what_the_database_does_not_take_then_the_others_are_heard(django_db_blocker: Any) -> None:
    """A fault stays its sender's, also among those who asked in the same breath."""
    with django_db_blocker.unblock():
        bad, good = _devices(make_house(), 2)
        too_much = bad.ask_bytes(door=DoorReport("SHUT", None, Revision(2**40, 1), None, None))
        _hear({bad.device: [too_much], good.device: [good.ask_bytes()]})
        counts = dict(Device.objects.values_list("pk", "ask_count"))
    assert (counts[bad.device], counts[good.device]) == (0, 1)


def test_asks_when_the_device_went_away_after_it_asked_then_away_is_what_is_left(house: House) -> None:
    """Taking asks together does not take them out of their order with what the same device said next."""
    (device,) = _devices(house, 1)
    batch: list[Event] = [
        MessageCame(device.device, "ask", device.ask_bytes()),
        MessageCame(device.device, "presence", json.dumps({"state": "away"}).encode()),
    ]
    _runtime(_Broker()).hear(batch)
    row = Device.objects.get(pk=device.device)
    assert (row.ask_count, row.presence) == (1, "away")


def test_records_when_their_device_asks_in_the_same_breath_then_it_is_told_once_that_they_are_stored(
    house: House,
) -> None:
    """An ask comes after the records that it counts: a device that seemed to lack them here would send all of them again."""
    (device,) = _devices(house, 1)
    ensure_worker_keys(house.project)
    Chain.objects.create(project=house.project, author=f"device:{device.device}", public_key=device.key.public)
    record = device.record("agent.started")
    broker = _Broker()
    batch: list[Event] = [
        MessageCame(device.device, "record", record),
        MessageCame(device.device, "ask", device.ask_bytes()),
        MessageCame(device.device, "presence", json.dumps({"state": "away"}).encode()),
    ]
    _runtime(broker).hear(batch)
    assert broker.published == [(device.device, "receipt")]


class _Broker:
    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []

    def publish(self, device: str, leaf: str, payload: bytes) -> bool:  # noqa: ARG002  the contract's
        self.published.append((device, leaf))
        return True


def _runtime(broker: _Broker) -> Runtime:
    keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
    return Runtime(keys, broker, RelayLinks(keys, hearing.relay_head, 10))


@pytest.mark.feature("E9", "B6")
def test_receipt_when_a_device_names_another_record_under_the_number_that_is_stored_then_it_is_told(
    house: House,
) -> None:
    """A device that was put back from a backup may have written just as many records as were lost; a broken chain is told, too."""
    (device,) = _devices(house, 1)
    stored = Head(0, 3, digest_of(b"stored"))
    Chain.objects.create(
        project=house.project, author=f"device:{device.device}", public_key=device.key.public, n=3, digest=stored.digest
    )
    other = Head(0, 3, digest_of(b"other"))
    assert hearing.hear_asks({device.device: [device.ask_bytes(journal=stored)]}, timezone.now()) == ()
    told = ((device.device, house.project.pk),)
    assert hearing.hear_asks({device.device: [device.ask_bytes(journal=other)]}, timezone.now()) == told
    Chain.objects.update(broken="two records 2 were signed")
    assert hearing.hear_asks({device.device: [device.ask_bytes(journal=other)]}, timezone.now()) == told
