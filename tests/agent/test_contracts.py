"""``doorward_agent.contracts`` kept by both: the edges in memory, which simulated devices have, and the real ones; what stays on a device.

Each test is one promise, and runs against either. The others are in ``test_contracts_broker`` and ``test_contracts_doors``.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from doorward_agent import contracts
from doorward_agent.config import Config
from doorward_agent.edges.files import DocumentStore
from doorward_agent.edges.journal import JournalOnDisk
from doorward_agent.edges.system import Machine, SystemClock
from doorward_protocol.digests import digest_of
from doorward_protocol.records import Fact, Head, Moment, next_payload

from tests.parts.limits import none_left_here
from tests.worlds.device import WorldClock, WorldJournal, WorldStore, WorldSystem

pytestmark = pytest.mark.feature("E9")

AUTHOR: Final = "device:d-aaaaaaaaaaaaaaaa"


# -- the journal


@pytest.fixture
def journal(kind: str, tmp_path: Path) -> contracts.Journal:
    return WorldJournal() if kind == "in memory" else JournalOnDisk(tmp_path / "journal")


def write(journal: contracts.Journal, count: int, size: int = 0) -> None:
    for _ in range(count):
        moment, fact = Moment(1, "b" * 32, 1), Fact("door.opened", data={"filler": "x" * size})
        journal.append(next_payload(AUTHOR, journal.head, moment, fact, {}))


def numbers(journal: contracts.Journal, n: int = 0, most: int = 100) -> list[int]:
    return [number for number, _ in journal.after(n, most)]


def test_journal_when_records_are_added_then_they_are_given_in_their_order_and_no_more_than_asked_for(
    journal: contracts.Journal,
) -> None:
    """An empty one has no first record; each that is added becomes the head, and is given after those before it."""
    assert (journal.head, journal.first, numbers(journal)) == (Head(), 0, [])
    write(journal, 5)
    assert (journal.head.n, journal.first) == (5, 1)
    assert numbers(journal, 2) == [3, 4, 5]
    assert numbers(journal, 0, 2) == [1, 2]
    assert numbers(journal, 5) == []
    assert journal.size_bytes >= sum(len(payload) for _, payload in journal.after(0, 5))


@pytest.mark.parametrize("kept", [0, 2, 3])
def test_journal_when_it_goes_on_after_what_others_took_then_it_holds_what_was_kept_and_what_follows(
    journal: contracts.Journal, kept: int
) -> None:
    """Numbers 4 to 9 are somebody else's: the next one is 10, linked to what stands under 9."""
    write(journal, 3)
    journal.resume(Head(0, 9, digest_of(b"the ninth")), kept)
    assert journal.head.n == 9
    write(journal, 2)
    assert numbers(journal) == [*range(1, kept + 1), 10, 11]
    assert journal.first == (1 if kept else 10)


def test_journal_when_it_is_trimmed_then_nothing_is_lost_that_was_not_receipted_or_is_young(
    journal: contracts.Journal,
) -> None:
    """What it drops is its own business, and never that; there is more than one file of it."""
    write(journal, 60, size=2_000)
    journal.trim(60, 1)
    assert numbers(journal) == [*range(1, 61)]
    journal.trim(40, 2**62)
    assert numbers(journal)[-20:] == [*range(41, 61)]
    write(journal, 1)
    assert journal.head.n == 61


# -- the store


@dataclass
class Stores:
    """A store, and what happens to it."""

    store: contracts.Store
    restart: Callable[[], contracts.Store]
    boot: Callable[[], None]


@pytest.fixture
def stores(kind: str, tmp_path: Path) -> Stores:
    if kind == "in memory":
        world = WorldStore()
        return Stores(world, lambda: world, world.passing.clear)
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    run.mkdir()

    def boot() -> None:
        shutil.rmtree(run)
        run.mkdir()

    return Stores(DocumentStore(state, run), lambda: DocumentStore(state, run), boot)


def test_store_when_restarted_and_booted_then_each_document_lasts_as_long_as_was_said(stores: Stores) -> None:
    """Both survive whoever wrote them; only the durable one a loss of power; the last word counts."""
    assert stores.store.load("held") is None
    stores.store.save("held", {"n": 1}, durable=True)
    stores.store.save("held", {"n": 2}, durable=True)
    stores.store.save("nonces", {"one": ["a", None]}, durable=False)
    again = stores.restart()
    assert (again.load("held"), again.load("nonces")) == ({"n": 2}, {"one": ["a", None]})
    stores.boot()
    assert (again.load("held"), again.load("nonces")) == ({"n": 2}, None)
    again.save("nonces", {}, durable=False)
    assert again.load("nonces") == {}


# -- the machine


def test_machine_when_asked_what_it_is_then_it_says_the_same_each_time_and_never_the_same_nonce(kind: str) -> None:
    """A boot is 32 hexadecimal digits, a nonce 22 characters of base64url (protocol.md §3), chance is below 1, a port can be had."""
    machine: contracts.System = WorldSystem() if kind == "in memory" else Machine(Config())
    assert re.fullmatch(r"[0-9a-f]{32}", machine.boot)
    assert machine.facts() == machine.facts()
    assert set(machine.facts()) == {"hostname", "os", "arch", "firmware"}
    nonces = [machine.nonce() for _ in range(20)]
    assert len(set(nonces)) == len(nonces)
    assert all(re.fullmatch(r"[\w-]{22}", nonce) for nonce in nonces)
    assert all(0 <= machine.chance() < 1 for _ in range(20))
    assert 1024 <= machine.free_port() <= 65_535
    assert all(":" in one.target for one in machine.forwards)
    with none_left_here():
        assert 1024 <= machine.free_port() <= 65_535


# -- the clock


def test_clock_when_read_then_the_boots_never_goes_back(kind: str) -> None:
    """Both in whole milliseconds; the wall clock is later than the year 2001, whatever it is."""
    clock: contracts.Clock = WorldClock() if kind == "in memory" else SystemClock()
    readings = [clock.boottime_ms() for _ in range(3)]
    assert readings == sorted(readings)
    assert readings[0] > 0
    assert clock.wall_ms() > 10**12
