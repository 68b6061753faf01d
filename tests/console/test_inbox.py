"""Records that arrive: verified, stored once, joined in order; what does not fit is kept out or shown."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.history.inbox import receipt_for, take
from doorward_console.history.models import Chain, Pending, Record
from doorward_console.history.own import chain_pending
from doorward_console.history.queries import Filter, lines
from doorward_console.history.writing import note
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_protocol.envelope import decode
from doorward_protocol.ids import DeviceId
from doorward_protocol.receipts import receipt_from_payload
from doorward_protocol.signature import SigningKey

from tests.console.conftest import House, make_house
from tests.worlds.scripted_device import ScriptedDevice


def a_device(house: House) -> ScriptedDevice:
    """Give a device whose key the console has pinned."""
    device = ScriptedDevice(DeviceId(house.device.pk))
    Chain.objects.create(project=house.project, author=f"device:{device.device}", public_key=device.key.public)
    return device


def arrive(device: ScriptedDevice, *envelopes: bytes) -> list[str]:
    """Let messages arrive; gives the verbs that joined."""
    taken = take(f"device:{device.device}", envelopes, timezone.now())
    return [record.fact.verb for record in taken.joined]


def head(device: ScriptedDevice) -> tuple[int, str]:
    chain = Chain.objects.get(author=f"device:{device.device}")
    return chain.n, chain.broken


def test_records_when_they_come_out_of_order_and_twice_then_they_join_once_and_in_order(house: House) -> None:
    """A later record waits for the one before; a record that comes again changes nothing."""
    device = a_device(house)
    one, two, three = (device.record(verb) for verb in ("agent.started", "door.opening", "door.opened"))
    assert arrive(device, three) == []
    assert head(device) == (0, "")
    assert arrive(device, one, three) == ["agent.started"]
    assert arrive(device, two, two) == ["door.opening", "door.opened"]
    assert arrive(device, one, two, three) == []
    assert head(device) == (3, "")
    assert Record.objects.filter(author=f"device:{device.device}").count() == 3


@pytest.mark.threat("agent-user-forges-history", "broker-forgery", "device-foreign-history")
def test_record_when_forged_then_it_is_not_stored(house: House) -> None:
    """A record that another key signed, that names another author, or that is no record is dropped."""
    device, stranger = a_device(house), ScriptedDevice(DeviceId(house.device.pk))
    other = ScriptedDevice(DeviceId("d-bbbbbbbbbbbbbbbb"), key=device.key)
    taken = take(
        f"device:{device.device}",
        [stranger.record("door.opened"), other.record("door.opened"), b"{}", b"\x00", device.key.seal("record", b"{}")],
        timezone.now(),
    )
    assert taken.dropped == ("unknown-key", "other-author", "not-an-envelope", "not-an-envelope", "malformed")
    assert not Record.objects.exists()
    assert take("device:d-bbbbbbbbbbbbbbbb", [device.record("door.opened")], timezone.now()).project is None


@pytest.mark.feature("B6")
def test_chain_when_two_records_bear_one_number_then_it_is_broken_and_an_alarm_is_raised(house: House) -> None:
    """An author that signs two histories is shown; nothing of it is receipted any further."""
    device = a_device(house)
    arrive(device, device.record("agent.started"), device.record("door.opened"))
    twin = ScriptedDevice(device.device, key=device.key)
    arrive(device, twin.record("door.closed"))
    assert head(device)[1] == "two records 1 were signed"
    assert arrive(device, device.record("door.closed")) == []
    assert head(device)[0] == 2
    alarms = Pending.objects.filter(verb="console.alarm")
    assert [one.data["code"] for one in alarms] == ["history.forked"]


@pytest.mark.feature("B6")
def test_chain_when_a_record_names_another_past_then_it_is_broken(house: House) -> None:
    """A record whose predecessor is not the one stored does not join, and is kept as evidence."""
    device = a_device(house)
    arrive(device, device.record("agent.started"))
    twin = ScriptedDevice(device.device, key=device.key)
    twin.record("door.failed")
    assert arrive(device, twin.record("door.opened")) == []
    assert head(device) == (1, "record 2 does not name the digest of record 1")
    assert Record.objects.filter(author=f"device:{device.device}", n=2).exists()


def keys_of(house: House) -> WorkerKeys:
    ensure_worker_keys(house.project)
    return WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))


@pytest.mark.feature("B6")
def test_receipt_when_records_are_stored_then_it_names_the_last_without_a_gap_and_the_consoles_head(
    house: House,
) -> None:
    """A receipt says how far, with which digest, and where the console's own chain stands."""
    device, keys = a_device(house), keys_of(house)
    note(house.project, "device.added", device=device.device)
    chain_pending(keys)
    envelopes = [device.record("agent.started") for _ in range(3)]
    arrive(device, envelopes[0], envelopes[2])
    raw = receipt_for(f"device:{device.device}", keys.record_key(house.project.pk), timezone.now())
    assert raw is not None
    receipt = receipt_from_payload(decode(raw, expected="receipt").payload)
    stored = Record.objects.get(author=f"device:{device.device}", n=1)
    assert (receipt.upto, receipt.digest) == (1, stored.digest)
    assert receipt.heads[f"console:{house.project.pk}"].n == 1


@pytest.mark.feature("E6")
def test_history_when_the_device_answered_before_the_asking_was_signed_then_the_asking_still_comes_first(
    house: House,
) -> None:
    """A line of the console's stands where it was written down, not where it was signed a moment later."""
    device, keys = a_device(house), keys_of(house)
    note(house.project, "settings.asked", device=device.device)
    arrive(device, device.record("settings.begun"))
    chain_pending(keys)
    found, _ = lines(house.project, Filter(device=device.device, action="all"))
    assert [line.verb for line in found] == ["settings.begun", "settings.asked"]


def at_once(act: Callable[[], Any], count: int) -> list[Any]:
    """Do the same in several threads at the same moment."""
    ready, results = threading.Barrier(count), []

    def one() -> None:
        try:
            ready.wait(5)
            results.append(act())
        except BaseException as error:  # noqa: BLE001  # shown by the test
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


@pytest.mark.real("postgres")
def test_record_when_two_workers_see_it_then_one_stores_it(on_postgres: str, django_db_blocker: Any) -> None:
    """Each worker hears each message; every record is stored and joined once."""
    with django_db_blocker.unblock():
        device = a_device(make_house())
        envelopes = [device.record("agent.started") for _ in range(40)]
        author = f"device:{device.device}"
        joined = at_once(lambda: len(take(author, envelopes, timezone.now()).joined), 4)
        assert sorted(joined) == [0, 0, 0, 40]
        assert Record.objects.filter(author=author).count() == 40


@pytest.mark.real("postgres")
def test_pending_when_two_workers_chain_then_each_fact_gets_one_number(
    on_postgres: str, django_db_blocker: Any
) -> None:
    """The console's chain grows under a lock: no number twice, no fact lost."""
    with django_db_blocker.unblock():
        house = make_house()
        keys = keys_of(house)
        note(house.project, "device.added")
        assert chain_pending(keys) == 1
        for _ in range(29):
            note(house.project, "device.changed")
        made = at_once(lambda: chain_pending(keys), 4)
        assert sum(made) == 29
        numbers = Record.objects.filter(author=f"console:{house.project.pk}").values_list("n", flat=True)
        assert sorted(numbers) == list(range(1, 31))


def test_device_when_its_key_is_pinned_then_another_key_of_the_right_shape_is_unknown(house: House) -> None:
    """The key id in the envelope chooses among pinned keys and brings none in."""
    device = a_device(house)
    device.key = SigningKey.generate()
    assert arrive(device, device.record("agent.started")) == []
