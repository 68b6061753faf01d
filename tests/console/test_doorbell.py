"""The doorbell between the console's processes: unix datagrams beside SQLite, NOTIFY on PostgreSQL."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from doorward_console.edges.doorbell import Bell, Chime, is_listening, ring

from tests.parts.limits import none_left_here
from tests.parts.ports import free_port
from tests.parts.waiting import wait_until


@pytest.mark.django_db(transaction=True)
def test_bell_when_rung_after_commit_then_heard_once(run_dir: Path) -> None:
    """A ring sounds at the commit and not before; rings that came together are heard as one."""
    bell = Bell("signer")
    try:
        with transaction.atomic():
            ring("signer")
            ring("signer")
            assert not bell.heard()
        assert bell.wait(5)
        assert not bell.heard()
    finally:
        bell.close()


@pytest.mark.django_db(transaction=True)
def test_bell_when_stopped_then_nobody_waits_any_more(run_dir: Path) -> None:
    """Neither who waits at that moment nor who comes later, and it is no ring: processes end at once."""
    bell = Bell("signer")
    said: list[bool] = []
    waiting = threading.Thread(target=lambda: said.append(bell.wait(600)))
    try:
        waiting.start()
        bell.stop()
        waiting.join(20)
        assert said == [False]
        assert not bell.wait(600)
    finally:
        bell.close()


@pytest.mark.feature("T5")
@pytest.mark.django_db(transaction=True)
def test_bell_when_its_folder_has_a_long_name_then_it_is_heard_all_the_same(tmp_path: Path, settings: Any) -> None:
    """A unix socket's name has 107 bytes; a trial below somebody's TMPDIR may need more."""
    deep = tmp_path / ("deep" * 40)
    deep.mkdir()
    settings.CONFIG = replace(settings.CONFIG, run_dir=deep)
    bells = [Bell("signer"), Bell("web")]
    try:
        assert is_listening("signer")
        ring("signer", "web")
        assert all(bell.wait(5) for bell in bells)
    finally:
        for bell in bells:
            bell.close()
    assert [*deep.iterdir()] == []


@pytest.mark.django_db(transaction=True)
def test_ring_when_nobody_listens_then_no_error(run_dir: Path) -> None:
    """A missing listener, or the socket of one that died, does not disturb whoever rings."""
    Bell("worker").close()
    ring("signer", "worker", "web")


@pytest.mark.feature("E9")
@pytest.mark.django_db(transaction=True)
def test_ring_when_no_descriptor_is_left_then_no_error_and_what_was_committed_is_done(run_dir: Path) -> None:
    """Whoever was to be woken looks by himself within seconds; nobody ends, and nobody is told that it was not done."""
    connection.ensure_connection()
    with none_left_here():
        ring("signer", "worker", "web")


@pytest.mark.django_db(transaction=True)
def test_ring_when_rolled_back_then_silent(run_dir: Path) -> None:
    """What did not happen is not rung."""
    bell = Bell("worker")
    try:
        with suppress(ZeroDivisionError), transaction.atomic():
            ring("worker")
            raise ZeroDivisionError
        assert not bell.wait(0)
    finally:
        bell.close()


@pytest.mark.real("postgres")
def test_bell_when_on_postgres_then_notify_carries_the_ring(on_postgres: str) -> None:
    """On PostgreSQL a ring from another connection is heard after its commit."""
    bell = Bell("worker")
    try:
        with transaction.atomic():
            ring("worker")
            ring("signer")
            assert not bell.heard()
        assert bell.wait(5)
        assert not bell.heard()
    finally:
        bell.close()


@pytest.mark.real("postgres")
def test_bell_when_its_connection_was_lost_then_it_looks_at_once_and_hears_the_next_ring(on_postgres: str) -> None:
    """A listener whose database went away listens again by itself, and takes the gap for a ring."""
    bell = Bell("worker")
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN doorward_worker'"
            )
            assert cursor.rowcount == 1
        wait_until(lambda: bell.wait(1), 5, "the loss to be noticed")
        ring("worker")
        assert bell.wait(5)
    finally:
        bell.close()


@pytest.mark.real("postgres")
@pytest.mark.feature("E9")
def test_bell_when_the_database_is_away_for_longer_then_it_waits_and_looks_and_hears_again(on_postgres: str) -> None:
    """Nobody ends because the database that carries the rings is being restarted."""
    bell, place = Bell("worker"), connection.settings_dict
    port = place["PORT"]
    connection.ensure_connection()
    try:
        place["PORT"] = str(free_port())  # whoever dials now finds nobody
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN doorward_worker'"
            )
        assert wait_until(lambda: bell.wait(0.2), 5, "the loss to be noticed")
        assert bell.wait(0.2), "it did not look meanwhile"
        place["PORT"] = port
        wait_until(lambda: not bell.wait(0.2), 5, "the bell to listen again")
        ring("worker")
        assert bell.wait(5)
    finally:
        place["PORT"] = port
        bell.close()


@pytest.mark.django_db(transaction=True)
def test_chime_when_rung_then_every_stream_wakes(run_dir: Path) -> None:
    """All streams of a web process wake at one ring, also one that began to wait after it."""

    async def streams() -> tuple[int, int, int]:
        chime = Chime()
        early = asyncio.gather(chime.wait(0, 5), chime.wait(0, 5))
        await asyncio.sleep(0)
        ringer = threading.Thread(target=ring, args=("web",))
        ringer.start()
        first, second = await early
        ringer.join()
        late = await chime.wait(0, 5)
        chime.close()
        return first, second, late

    assert asyncio.run(streams()) == (1, 1, 1)
