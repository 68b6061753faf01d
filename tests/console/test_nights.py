"""The worker's own hours: what it asks of devices without anybody asking for it (B10, I10)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device
from doorward_console.history.models import Record
from doorward_console.history.writing import note
from doorward_console.keys.opening import WorkerKeys
from doorward_console.maintenance.commands.wishes import NIGHT_MINUTES, minute_of
from doorward_console.maintenance.models import Command
from doorward_console.worker.events import Event, MessageCame, Rung
from doorward_console.worker.hearing import hear_asks, relay_head
from doorward_console.worker.relay_links import RelayLinks
from doorward_console.worker.runtime import POLL_S, SOON_S, Runtime
from doorward_protocol.ids import DeviceId

from tests.console.commanding import ALL, can_all
from tests.console.conftest import House
from tests.parts.waiting import wait_until
from tests.worlds.scripted_device import ScriptedDevice

NIGHT = datetime(2026, 11, 25, 1, tzinfo=timezone.utc)


class Away:
    """A broker that takes nothing."""

    def publish(self, device: str, leaf: str, payload: bytes) -> bool:
        del device, leaf, payload
        return False


@contextmanager
def worker_at(clock: list[datetime]) -> Iterator[Runtime]:
    """A worker for which it is as late as ``clock`` says."""
    keys = WorkerKeys(wrapping_key_from_file(django_settings.CONFIG.worker_key))
    links = RelayLinks(keys, relay_head, 1_000)
    try:
        yield Runtime(keys, Away(), links, lambda: clock[0])
    finally:
        links.stop()


@pytest.mark.feature("B10")
@pytest.mark.parametrize("is_wanted", [True, False])
def test_worker_when_a_devices_minute_of_the_night_comes_then_it_has_it_rehearse_by_itself(
    house: House, settings: Any, *, is_wanted: bool
) -> None:
    """Nobody asks; at noon nothing is asked for; where the configuration does not want it, at night neither."""
    settings.CONFIG = replace(settings.CONFIG, nightly_rehearsals=is_wanted)
    can_all(house, verbs=[*ALL, "rehearse"])
    Device.objects.filter(pk=house.device.pk).update(relay=house.relay)
    minute = minute_of(house.device.pk)
    assert 0 <= minute < NIGHT_MINUTES
    clock = [NIGHT + timedelta(hours=11)]
    with worker_at(clock) as noon:
        clock[0] += timedelta(minutes=2)
        noon.round([])
    assert not Command.objects.exists()
    clock = [NIGHT + timedelta(minutes=minute - 1)]
    with worker_at(clock) as worker:
        clock[0] += timedelta(minutes=2)
        worker.round([])
    asked = [(one.verb, one.by_name) for one in Command.objects.all()]
    assert asked == ([("rehearse", "the console, every night")] if is_wanted else [])


@pytest.mark.feature("B7")
def test_worker_when_a_device_tries_settings_then_it_has_it_rehearse_by_itself(house: House) -> None:
    """Without it no trial would ever be confirmed."""
    can_all(house, verbs=[*ALL, "rehearse"])
    clock = [NIGHT + timedelta(hours=11)]
    Device.objects.filter(pk=house.device.pk).update(settings_state="trying", settings_at=clock[0])
    with worker_at(clock) as worker:
        worker.round([])
    assert [one.verb for one in Command.objects.all()] == ["rehearse"]


@pytest.mark.feature("I10")
def test_worker_when_it_hears_a_device_that_has_started_then_it_has_it_say_how_it_is_set(house: House) -> None:
    """At each boot, once, by itself: what the console shows is what the device has."""
    can_all(house, verbs=None)
    device = ScriptedDevice(DeviceId(house.device.pk))
    for minute, boot, count in ((0, "1" * 32, 1), (5, "1" * 32, 1), (9, "2" * 32, 2)):
        device.boot = boot
        hear_asks({device.device: [device.ask_bytes(verbs=("settings-read",))]}, NIGHT + timedelta(minutes=minute))
        assert Command.objects.filter(verb="settings-read").count() == count
        Command.objects.update(state="done")


@pytest.mark.feature("E9")
def test_worker_when_it_has_just_looked_at_everything_then_a_quiet_round_chains_and_looks_no_second_time(
    house: House,
) -> None:
    """Each thing that happens is followed by a quiet moment: looking twice would be half of what a busy worker does."""
    with worker_at([NIGHT]) as worker:
        worker.round([Rung()])
        with CaptureQueriesContext(connection) as first:
            worker.round([Rung()])
        note(house.project, "session.on", device=house.device.pk)
        with CaptureQueriesContext(connection) as quiet:
            worker.round([])
        assert Record.objects.filter(verb="session.on").exists()
        with CaptureQueriesContext(connection) as again:
            worker.round([])
        assert len(again) * 5 < len(first), (len(again), len(first), len(quiet))
        wait_until(lambda: _looks(worker) >= len(first) / 2, 2 * POLL_S, "the next look at everything")


def _looks(worker: Runtime, *heard: Event) -> int:
    with CaptureQueriesContext(connection) as found:
        worker.round(heard)
    return len(found)


@pytest.mark.feature("E9")
def test_worker_when_devices_talk_then_it_looks_at_everything_once_for_all_that_comes_within_a_moment(
    house: House,
) -> None:
    """An opening is ten messages; to look after each kept the worker's processor from the door, whom it should serve."""
    said = MessageCame(house.device.pk, "ask", b"")
    with worker_at([NIGHT]) as worker:
        _looks(worker, Rung())
        whole = _looks(worker, Rung())
        assert [_looks(worker, said) for _ in range(5)] == [0] * 5
        assert _looks(worker, said, Rung()) >= whole / 2
        assert _looks(worker, said) == 0
        wait_until(lambda: _looks(worker, said) >= whole / 2, 2 * SOON_S, "the look at everything", closely=True)
