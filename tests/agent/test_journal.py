"""The journal on a real disk: power loss, full disk, trimming."""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from doorward_agent.edges.journal import JournalOnDisk
from doorward_protocol.digests import digest_of
from doorward_protocol.records import Fact, Head, Moment, check_link, next_payload, record_from_payload
from hypothesis import given
from hypothesis import strategies as st

AUTHOR = "device:d-aaaaaaaaaaaaaaaa"


def write(journal: JournalOnDisk, count: int = 1, at: int | None = 1, size: int = 0) -> None:
    for _ in range(count):
        moment, fact = Moment(at, "b" * 32, 1), Fact("door.opened", data={"filler": "x" * size})
        journal.append(next_payload(AUTHOR, journal.head, moment, fact, {}))


def numbers(journal: JournalOnDisk) -> list[int]:
    return [n for n, _ in journal.after(0, 100_000)]


def assert_chained(journal: JournalOnDisk) -> None:
    records = [record_from_payload(payload) for _, payload in journal.after(0, 100_000)]
    for before, after in itertools.pairwise(records):
        assert check_link(before.head, after) is None


def test_journal_when_written_and_opened_again_then_the_chain_goes_on(tmp_path: Path) -> None:
    """A restart continues numbers and digests."""
    write(JournalOnDisk(tmp_path / "j"), 3)
    again = JournalOnDisk(tmp_path / "j")
    write(again, 2)
    assert numbers(again) == [1, 2, 3, 4, 5]
    assert_chained(again)


def test_journal_when_resumed_after_what_it_lost_then_it_goes_on_there_also_after_a_restart(tmp_path: Path) -> None:
    """Records 4 and 5 are lost and their numbers taken: the next one is 6, linked to 5, and stays so."""
    journal = JournalOnDisk(tmp_path / "j")
    write(journal, 3)
    taken = Head(0, 5, digest_of(b"the fifth"))
    journal.resume(taken, 3)
    write(journal)
    again = JournalOnDisk(tmp_path / "j")
    write(again)
    assert numbers(again) == [1, 2, 3, 6, 7]
    sixth, seventh = (record_from_payload(payload) for _, payload in again.after(5, 9))
    assert check_link(taken, sixth) is None
    assert check_link(sixth.head, seventh) is None
    again.trim(7, 2**62)
    assert numbers(again) == [6, 7]


@pytest.mark.feature("E9")
@pytest.mark.parametrize("kept", [0, 3, 31, 32, 33, 60])
def test_journal_when_what_follows_a_record_is_given_up_then_it_is_set_aside_and_the_chain_goes_on_elsewhere(
    tmp_path: Path, kept: int
) -> None:
    """Wherever the cut falls among the files, what is before it is held, what is after it is gone, and the next number is as told."""
    journal = JournalOnDisk(tmp_path / "j")
    write(journal, 60, size=2_000)
    journal.resume(Head(0, 100, digest_of(b"the hundredth")), kept)
    write(journal, 2)
    for one in (journal, JournalOnDisk(tmp_path / "j")):
        assert numbers(one) == [*range(1, kept + 1), 101, 102]
        assert one.head.n == 102
    assert kept == 60 or list((tmp_path / "j").glob("*.cut"))


@given(cut=st.integers(1, 400))
def test_journal_when_power_failed_in_the_middle_of_a_record_then_the_rest_is_kept(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Wherever the last write was cut, opening keeps all whole records and the chain goes on."""
    folder = tmp_path_factory.mktemp("j")
    write(JournalOnDisk(folder), 5)
    (segment,) = folder.glob("*.jsonl")
    content = segment.read_bytes()
    segment.write_bytes(content[:-cut])
    again = JournalOnDisk(folder)
    whole = content[:-cut].count(b"\n")
    assert again.head.n == whole
    write(again)
    assert numbers(again) == list(range(1, whole + 2))
    assert_chained(again)


def test_journal_when_long_then_segments_and_any_record_can_be_found(tmp_path: Path) -> None:
    """Records spread over files and are read from any number on."""
    journal = JournalOnDisk(tmp_path / "j")
    write(journal, 200, size=1_000)
    assert len(list((tmp_path / "j").glob("*.jsonl"))) > 2
    assert [n for n, _ in journal.after(150, 3)] == [151, 152, 153]
    assert JournalOnDisk(tmp_path / "j").head == journal.head


def test_journal_when_receipted_for_long_then_trimmed_and_never_beyond_the_receipt(tmp_path: Path) -> None:
    """Only what is receipted and old goes, in whole files."""
    journal = JournalOnDisk(tmp_path / "j")
    write(journal, 100, at=1, size=1_000)
    write(journal, 100, at=1_000, size=1_000)
    journal.trim(receipted=0, older_than=500)
    assert journal.first == 1
    journal.trim(receipted=90, older_than=500)
    assert 1 < journal.first <= 91
    journal.trim(receipted=200, older_than=500)
    assert 1 < journal.first <= 101
    assert JournalOnDisk(tmp_path / "j").first == journal.first


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount: run the tests as root")
    yield place
    subprocess.run(["/bin/umount", str(place)], check=True)


def test_journal_when_disk_is_full_then_nothing_raises_and_what_waited_is_written_later(small_disk: Path) -> None:
    """A full disk uses the reserve, then memory; when there is room again, everything is on the disk, in order."""
    journal = JournalOnDisk(small_disk / "j")
    room = small_disk / "rubbish"
    with room.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    write(journal, 100, size=2_000)
    assert not (small_disk / "j" / "reserve").exists()
    assert numbers(journal) == list(range(1, 101))
    on_disk = JournalOnDisk(small_disk / "j").head.n
    assert 0 < on_disk < 100
    room.unlink()
    write(journal, 1)
    again = JournalOnDisk(small_disk / "j")
    assert again.head == journal.head == Head(0, 101, journal.head.digest)
    assert_chained(again)


@pytest.mark.feature("E9")
def test_journal_when_a_line_is_damaged_and_the_disk_is_full_then_it_is_opened_all_the_same(small_disk: Path) -> None:
    """There is no room to set the damage aside: an agent that does not start would be worse."""
    write(JournalOnDisk(small_disk / "j"), 3)
    (segment,) = (small_disk / "j").glob("*.jsonl")
    os.truncate(segment, segment.stat().st_size - 20)
    with (small_disk / "rubbish").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert JournalOnDisk(small_disk / "j").head.n == 2


@pytest.mark.feature("E9")
@pytest.mark.parametrize("pages", range(1, 40))
def test_journal_when_the_disk_fills_up_at_any_of_its_writes_then_it_goes_on_in_order_once_there_is_room(
    small_disk: Path, tmp_path: Path, pages: int
) -> None:
    """However many pages were left, nothing raises, nothing is lost or doubled, and what is on the disk chains."""
    with (small_disk / "rubbish").open("wb", buffering=0) as rubbish:
        rubbish.write(b"x" * 4096 * (64 - pages))
    journal = JournalOnDisk(small_disk / "j")
    write(journal, 60, size=3_000)
    assert numbers(journal) == list(range(1, 61))
    torn = JournalOnDisk(Path(shutil.copytree(small_disk / "j", tmp_path / "as a power cut leaves it")))
    assert numbers(torn) == list(range(1, torn.head.n + 1))
    (small_disk / "rubbish").unlink()
    write(journal)
    assert JournalOnDisk(small_disk / "j").head.n == 61
    assert_chained(JournalOnDisk(small_disk / "j"))


@pytest.mark.parametrize(
    "damaged", [b'{"not": "a record"}', rb"\1sha256:" + b"0" * 64 + rb"\2"], ids=["no record", "a link"]
)
def test_journal_when_a_line_is_damaged_then_it_is_set_aside_for_whoever_looks(tmp_path: Path, damaged: bytes) -> None:
    """What does not chain is cut off and kept beside the journal, also where it reads like a record."""
    write(JournalOnDisk(tmp_path), 3)
    (segment,) = tmp_path.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[2] = re.sub(rb'(.*"prev":")[^"]*(".*)', damaged, lines[2])
    segment.write_bytes(b"".join(lines))
    assert JournalOnDisk(tmp_path).head.n == 2
    assert segment.with_suffix(".cut").read_bytes() == lines[2]
