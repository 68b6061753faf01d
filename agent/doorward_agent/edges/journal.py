"""The journal on disk: one record a line, in segments named for their first record, each line synced before it counts.

A record that power loss cut in the middle is the last line of the last segment; it is dropped at the next start. A full disk
never stops anything: a reserve is given up for the next records, and what then does not fit waits in memory.
"""

import errno
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorward_protocol.fields import Malformed
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.records import Head, Record, check_link, head_after, record_from_payload

from doorward_agent.edges.files import sync_folder

_log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 65_536
"""Small enough to read whole for one record, and to be dropped without losing much."""
RESERVE_BYTES: Final = 65_536
"""Freed when the disk is full: a hundred records, the sessions of some days."""
MOST_WAITING: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Segment:
    path: Path
    first: int
    size: int


class JournalOnDisk:
    """``contracts.Journal`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=MOST_WAITING)
        self._segments = sorted(
            (_Segment(path, int(path.stem), path.stat().st_size) for path in folder.glob("*.jsonl")),
            key=lambda segment: segment.first,
        )
        self._head = self._recover()
        self._is_resumed = False
        self._make_reserve()

    @property
    def head(self) -> Head:
        return self._head

    @property
    def first(self) -> int:
        if self._segments:
            return self._segments[0].first
        return self._waiting[0][0] if self._waiting else 0

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def append(self, payload: bytes) -> None:
        self._head = head_after(payload, self._head)
        self._waiting.append((self._head.n, payload))
        try:
            self._write_waiting()
        except OSError as error:
            _log.error("record not on disk n=%s error=%s", self._head.n, error)

    def resume(self, head: Head, kept: int) -> None:
        """Go on in a segment of its own: within one, a record's place is its number."""
        self._waiting = deque((one for one in self._waiting if one[0] <= kept), MOST_WAITING)
        while self._segments and self._segments[-1].first > kept:
            _set_aside(self._segments[-1].path, 0)
            self._segments.pop().path.unlink()
        if self._segments:
            self._cut_after(kept)
        self._head, self._is_resumed = head, True

    def _cut_after(self, kept: int) -> None:
        last = self._segments[-1]
        lines = last.path.read_bytes().splitlines(keepends=True)
        size = sum(map(len, lines[: kept - last.first + 1]))
        if size < last.size:
            _set_aside(last.path, size)
            self._segments[-1] = _Segment(last.path, last.first, size)

    def after(self, n: int, most: int) -> Sequence[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for number, payload in self._from(n + 1):
            if len(found) >= most:
                break
            if number > n:
                found.append((number, payload))
        return found

    def trim(self, receipted: int, older_than: int) -> None:
        while len(self._segments) > 1 and self._segments[1].first - 1 <= receipted:
            last = list(self._lines(self._segments[0]))[-1][1]
            at = record_from_payload(last).moment.at
            if at is None or at >= older_than:
                return
            self._segments.pop(0).path.unlink()

    def _from(self, n: int) -> Iterator[tuple[int, bytes]]:
        """Walk from the segment that holds record ``n`` to what waits for the disk."""
        following = [segment.first for segment in self._segments[1:]] + [None]
        for segment, next_first in zip(self._segments, following, strict=False):
            if next_first is None or next_first > n:
                yield from self._lines(segment)
        yield from self._waiting

    def _lines(self, segment: _Segment) -> Iterator[tuple[int, bytes]]:
        with segment.path.open("rb") as file:
            for offset, line in enumerate(file):
                yield segment.first + offset, line.rstrip(b"\n")

    # Writing

    def _write_waiting(self) -> None:
        while self._waiting:
            n, payload = self._waiting[0]
            try:
                self._write(n, payload + b"\n")
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._give_up_reserve():
                    raise
                self._write(n, payload + b"\n")
            self._waiting.popleft()

    def _write(self, n: int, line: bytes) -> None:
        if self._is_resumed or not self._segments or self._segments[-1].size >= SEGMENT_BYTES:
            path = self._folder / f"{n:010d}.jsonl"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_folder(self._folder)
            self._segments.append(_Segment(path, n, 0))
            self._is_resumed = False
        segment = self._segments[-1]
        descriptor = os.open(segment.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_at(descriptor, segment.size, line)
        finally:
            os.close(descriptor)
        self._segments[-1] = _Segment(segment.path, segment.first, segment.size + len(line))

    @property
    def _reserve(self) -> Path:
        return self._folder / "reserve"

    def _make_reserve(self) -> None:
        """Set bytes aside; a disk without room for them gets them at a later start."""
        if self._reserve.exists():
            return
        try:
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("no reserve for the journal error=%s", error)
            self._reserve.unlink(missing_ok=True)

    def _give_up_reserve(self) -> bool:
        if not self._reserve.exists():
            return False
        self._reserve.unlink()
        _log.error("disk full: the journal lives on its reserve")
        return True

    # Starting

    def _recover(self) -> Head:
        """Find the chain's head; cut off what does not continue it, which only a power loss can have left."""
        while self._segments:
            segment = self._segments[-1]
            records, size = _good_records(segment.path.read_bytes(), segment.first)
            if size < segment.size:
                _log.warning("journal cut file=%s bytes=%s", segment.path.name, segment.size - size)
                _set_aside(segment.path, size)
            if records:
                self._segments[-1] = _Segment(segment.path, segment.first, size)
                return records[-1].head
            self._segments.pop().path.unlink()
        return Head()


def _good_records(content: bytes, first: int) -> tuple[list[Record], int]:
    """Read records as long as they chain; gives them and how many bytes they take."""
    records: list[Record] = []
    size = 0
    for line in content.splitlines(keepends=True):
        try:
            record = record_from_payload(line.rstrip(b"\n"))
        except (Malformed, UnknownVersion):
            break
        is_next = record.head.n == first if not records else check_link(records[-1].head, record) is None
        if not line.endswith(b"\n") or not is_next:
            break
        records.append(record)
        size += len(line)
    return records, size


def _set_aside(path: Path, size: int) -> None:
    """Keep what is cut off beside the journal, for whoever wants to know and if there is room, and cut it off."""
    content = path.read_bytes()
    try:
        path.with_suffix(".cut").write_bytes(content[size:])
    except OSError as error:
        _log.error("what was cut off is not kept file=%s error=%s", path.name, error)
    os.truncate(path, size)


def _write_at(descriptor: int, offset: int, line: bytes) -> None:
    """Write a line and sync it; one that does not fit leaves nothing behind."""
    try:
        rest = memoryview(line)
        while rest:  # a disk that fills up takes a part first, and says no to the rest
            rest = rest[os.pwrite(descriptor, rest, offset + len(line) - len(rest)) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, offset)
        raise
