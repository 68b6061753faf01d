"""PostgreSQL is restarted while people toggle: web, worker and signer go on by themselves, and nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.house.api import Declined
from tests.house.house import House
from tests.house.network import Network
from tests.lab.building import lacking
from tests.lab.invariants import all_hold
from tests.lab.middle import let_pass
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.postgres import Postgres, start_postgres
from tests.parts.processes import Programs

CONSOLE = ("web", "worker", "signer")
AWAY_S = 2.5


@pytest.fixture
def on_postgres() -> Iterator[tuple[House, Postgres]]:
    """A lab whose console keeps its data in a PostgreSQL of its own."""
    if reasons := [*lacking(), *filter(None, [missing("postgres")])]:
        pytest.skip("; ".join(reasons))
    with scratch_folder() as folder:
        programs = Programs(folder)
        network = Network(programs, apart=True)
        house = House(folder, programs, network)
        try:
            network.lay()
            database = start_postgres(programs, folder / "postgres", network.place_of("console"))
            database.new_database("doorward")
            house.database = f"postgresql://postgres@127.0.0.1:{database.port}/doorward"
            house.build()
            house.make_keys()
            yield house, database
        finally:
            print(house.logs())  # pytest shows it for a test that failed
            house.close()


@contextmanager
def toggling(house: House) -> Iterator[None]:
    """Toggle the door without a pause; while the database is away the console may say so, and nothing else."""
    done = threading.Event()

    def toggle() -> None:
        while not done.is_set():
            for act in (house.console.open_door, house.console.shut_door):
                with suppress(Declined, httpx.HTTPError):
                    act(house.device.id)
                done.wait(0.2)

    thread = threading.Thread(target=toggle, name="toggling")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.timeout(240)
@pytest.mark.feature("E9", "B5")
def test_console_when_postgresql_is_restarted_under_load_then_it_goes_on_by_itself_and_nothing_is_lost(
    on_postgres: tuple[House, Postgres],
) -> None:
    """At once (SIGQUIT, as a crash) and fast (SIGINT, as an update does it); no process of ours is started again."""
    house, database = on_postgres
    before = {name: house.parts[name].pid for name in CONSOLE}
    with toggling(house):
        for how in (signal.SIGQUIT, signal.SIGINT):
            let_pass(1)
            database.program.signal(how)
            database.program.process.wait(20)
            let_pass(AWAY_S)
            database = database.restarted(house.programs)
            let_pass(2)
    assert {name: house.parts[name].pid for name in CONSOLE if house.parts[name].is_running} == before
    house.console.shut_and_wait(house.device.id)
    house.console.open_door(house.device.id)
    house.console.wait_for_door(house.device.id, "open", 40)
    all_hold(house, 40)
