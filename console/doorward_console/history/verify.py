"""Check an exported history: every signature, every link, every head that one chain names of another. Pure.

An export is lines of text. The first is the header: the project, and for each author the key and the head of its chain. Each
other line is one record's envelope, exactly as encoded by ``envelope.encode``, ordered by (author, epoch, n). Nothing else
is read: no database, no network, no Django.

What is proved, and what is not. Whoever changes, removes, adds, moves or renumbers a record breaks a signature or a link, or
leaves a hole that another chain points at. Records at the end of a chain that nobody has named yet can be cut off together
with their mention in the header; the report says from where on that is so. The keys are the header's own: compare the
console's with what you know (``console_key``). From it follow the others', as far as the console's records name them.

A console that was restored from a backup goes on in a new epoch, from the last record it still had. What it lost is reported
as lost, with what others say was there; it is no fault, and it is never silent.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.digests import Digest
from doorward_protocol.envelope import NotAnEnvelope, decode, encode
from doorward_protocol.fields import Malformed
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.records import (
    Head,
    Record,
    check_link,
    document_from_head,
    head_from_document,
    record_from_payload,
)
from doorward_protocol.signature import BadKey, KeyRing, PublicKeyText, SignatureRefused, keyid_of

FORMAT: Final = "doorward-history-1"
MOST_FAULTS: Final = 50

_Place = tuple[str, int, int]
"""Author, epoch and number of a record."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the history breaks and why; ``author`` is empty for a fault of the header or of a line that cannot be read."""

    author: str
    epoch: int
    n: int
    why: str


@dataclass(frozen=True, slots=True)
class Restore:
    """A console that went on from a backup.

    Attributes:
        after: the last record that it still had.
        lost: the highest record of the epoch before that others have named; ``after`` when they know of none.
    """

    author: str
    epoch: int
    after: int
    lost: int


@dataclass(frozen=True, slots=True)
class ChainReport:
    """One chain: verified up to ``head``; records after ``named_epoch``/``named_n`` are not named by anybody else yet."""

    author: str
    key: str
    records: int
    head: Head
    named_epoch: int
    named_n: int


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it; the history holds if there is no fault."""

    project: str
    chains: tuple[ChainReport, ...]
    faults: tuple[Fault, ...]
    restores: tuple[Restore, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.faults


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the header says of one chain."""

    key: str
    head: Head
    broken: str


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    claimed: Mapping[str, Claimed]
    digests: dict[_Place, Digest | None] = field(default_factory=dict)
    last: dict[str, Head] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    named: list[tuple[_Place, str, Head]] = field(default_factory=list)
    keys_named: list[tuple[_Place, str, str]] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    before: _Place = ("", 0, 0)

    def fault(self, place: _Place, why: str) -> None:
        self.faults.append(Fault(*place, why))


def header_text(project: str, chains: Mapping[str, Claimed]) -> str:
    """Write the first line of an export."""
    document = {
        "format": FORMAT,
        "project": project,
        "chains": {
            author: {"key": one.key, "head": document_from_head(one.head), "broken": one.broken}
            for author, one in sorted(chains.items())
        },
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)


def verify(lines: Iterable[str], console_key: str | None = None) -> Report:
    """Check an export.

    Args:
        lines: the export's lines, without their line ends.
        console_key: the console's record key as the reader knows it from elsewhere, or None.
    """
    source = iter(lines)
    first = next(source, "")
    try:
        project, claimed = _header(first)
    except Malformed as error:
        return Report("", (), (Fault("", 0, 0, f"the header cannot be read: {error}"),))
    reading = _Reading(claimed)
    _check_header(reading, project, first, console_key)
    for line in source:
        if len(reading.faults) < MOST_FAULTS:
            _read_line(reading, project, line)
    _check_ends(reading)
    _check_names(reading)
    _check_keys(reading)
    return _report(project, reading)


def _header(text: str) -> tuple[str, dict[str, Claimed]]:
    source = fields.object_from_json(text)
    if source.get("format") != FORMAT:
        raise Malformed("format", FORMAT)
    chains = fields.mapping(source, "chains")
    return fields.text(source, "project", longest=18), {
        author: _claimed(fields.mapping(chains, author)) for author in chains
    }


def _claimed(source: Mapping[str, Any]) -> Claimed:
    head = head_from_document(fields.mapping(source, "head"))
    return Claimed(fields.text(source, "key", longest=44), head, fields.text(source, "broken", longest=200))


def _check_header(reading: _Reading, project: str, text: str, console_key: str | None) -> None:
    console = f"console:{project}"
    if header_text(project, reading.claimed) != text:
        reading.fault(("", 0, 0), "the header is not as it was written")
    if console not in reading.claimed:
        reading.fault(("", 0, 0), "the header names no chain of the project's console")
    elif console_key is not None and reading.claimed[console].key != console_key:
        reading.fault((console, 0, 0), "the console's key is another than the one expected")
    for author, one in reading.claimed.items():
        if one.broken:
            reading.fault(
                (author, one.head.epoch, one.head.n), f"the console itself marks this chain as forked: {one.broken}"
            )


def _read_line(reading: _Reading, project: str, line: str) -> None:
    record = _record(reading, line)
    if record is None:
        return
    place = _place(record)
    if place <= reading.before:
        reading.fault(place, "this record stands out of order or twice")
        return
    reading.before = place
    last = reading.last.get(record.author, Head())
    fault = _link_fault(reading, last, record)
    if fault is not None:
        reading.fault(place, fault)
    _take(reading, record, f"console:{project}")


def _record(reading: _Reading, line: str) -> Record | None:
    """Read a line whose signature holds; its author's key is the header's."""
    raw = line.encode()
    try:
        envelope = decode(raw, expected="record")
        record = record_from_payload(envelope.payload)
    except (NotAnEnvelope, Malformed, UnknownVersion) as error:
        reading.fault(reading.before, f"the line after this record is no record ({error})")
        return None
    claimed = reading.claimed.get(record.author)
    if claimed is None:
        reading.fault(_place(record), "the header names no key of this author")
        return None
    try:
        KeyRing([claimed.key]).verify(envelope)
    except (SignatureRefused, BadKey):
        reading.fault(_place(record), "the signature does not hold, or is of another key")
        return None
    if encode(envelope) != raw:
        reading.fault(_place(record), "the line is not as it was written")
    return record


def _link_fault(reading: _Reading, last: Head, record: Record) -> str | None:
    if record.head.epoch > last.epoch and record.fact.verb == "console.restored":
        last = _restored(reading, last, record)
    return check_link(last, record)


def _restored(reading: _Reading, last: Head, record: Record) -> Head:
    """Give the head that a restored console goes on from: the last record it still had, in its new epoch."""
    reading.restores.append(Restore(record.author, record.head.epoch, last.n, last.n))
    return replace(last, epoch=record.head.epoch)


def _take(reading: _Reading, record: Record, console: str) -> None:
    place = _place(record)
    reading.digests[place] = record.head.digest
    reading.last[record.author] = record.head
    reading.counts[record.author] = reading.counts.get(record.author, 0) + 1
    reading.named += [(place, author, head) for author, head in record.heads.items() if head.n > 0]
    if record.author == console:
        reading.keys_named += [(place, *one) for one in _keys_in(record)]


def _keys_in(record: Record) -> list[tuple[str, str]]:
    """Find the key ids of other authors that the console's history vouches for."""
    data = record.fact.data
    if record.fact.verb == "relay.paired" and isinstance(data.get("record_key"), str):
        return [(f"relay:{data.get('relay')}", _keyid(data["record_key"]))]
    if record.fact.verb == "device.joined" and isinstance(data.get("identity"), str):
        return [(f"device:{record.fact.device}", data["identity"])]
    return []


def _keyid(key: str) -> str:
    try:
        return keyid_of(PublicKeyText(key))
    except BadKey:
        return ""


def _check_ends(reading: _Reading) -> None:
    """Compare where each chain ends with what the header says."""
    for author, one in reading.claimed.items():
        last = reading.last.get(author, Head())
        if last != one.head and not one.broken:
            reading.fault(
                (author, last.epoch, last.n), f"the chain ends here, and the header says at record {one.head.n}"
            )


def _check_names(reading: _Reading) -> None:
    """Look for every record that another chain has named."""
    for place, author, head in reading.named:
        found = (author, head.epoch, head.n)
        if reading.digests.get(found, _NOTHING) == head.digest:
            continue
        if found not in reading.digests and _is_lost(reading, author, head):
            continue
        why = "is not in this export" if found not in reading.digests else "is another one here"
        reading.fault(found, f"{place[0]} names this record in its own record {place[2]}, and it {why}")


_NOTHING: Final = Digest("")


def _is_lost(reading: _Reading, author: str, head: Head) -> bool:
    """Tell whether a record was lost in a restore, and remember how far that went."""
    for at, one in enumerate(reading.restores):
        if one.author == author and head.epoch < one.epoch and head.n > one.after:
            reading.restores[at] = replace(one, lost=max(one.lost, head.n))
            return True
    return False


def _check_keys(reading: _Reading) -> None:
    """Compare the header's keys with those that the console's records vouch for; the last one counts."""
    vouched = {author: (place, key) for place, author, key in reading.keys_named}
    for author, (place, key) in vouched.items():
        claimed = reading.claimed.get(author)
        if claimed is not None and _keyid(claimed.key) != key:
            reading.fault(place, f"this record vouches for another key of {author} than the header has")


def _report(project: str, reading: _Reading) -> Report:
    named: dict[str, tuple[int, int]] = {}
    for place, author, head in reading.named:
        if place[0] != author and (author, head.epoch, head.n) in reading.digests:
            named[author] = max(named.get(author, (0, 0)), (head.epoch, head.n))
    chains = tuple(
        ChainReport(
            author, one.key, reading.counts.get(author, 0), reading.last.get(author, Head()), *named.get(author, (0, 0))
        )
        for author, one in sorted(reading.claimed.items())
    )
    return Report(project, chains, tuple(reading.faults[:MOST_FAULTS]), tuple(reading.restores))


def _place(record: Record) -> _Place:
    return record.author, record.head.epoch, record.head.n
