"""What devices and relays send of their histories: verified, stored once, and joined to their chains.

A record that no pinned key signed, or that bears another author's name, is dropped and counted. One that is signed and does
not fit (a fork) is kept as evidence, marks the chain as broken and raises an alarm; nothing after it is receipted. Facts
are given out in the chain's order and once, in the transaction that moves the head. Called by the worker.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import ProjectId
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.receipts import Receipt, payload_from_receipt
from doorward_protocol.records import Head, Record, record_from_payload
from doorward_protocol.signature import BadKey, KeyRing, SignatureRefused, SigningKey

from doorward_console.history.chains import advance
from doorward_console.history.models import Chain
from doorward_console.history.models import Record as Row
from doorward_console.history.own import RecordKeys, console_head, head_of
from doorward_console.history.writing import note
from doorward_console.rows import store_each
from doorward_console.times import ms_from_time, time_from_ms_or_none

FURTHEST_AHEAD: Final = 10_000
"""Records beyond the head that are kept: an author sends 64 at a time; more is somebody filling the disk."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One verified record and the bytes that prove it."""

    record: Record
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch.

    Attributes:
        project: whose history it is; None for an author whom nobody knows.
        joined: records that now belong to the chain, in its order.
        dropped: reason codes of messages that were not kept, the last part each.
    """

    project: str | None
    joined: tuple[Record, ...] = ()
    dropped: tuple[str, ...] = ()


@transaction.atomic
def take(author: str, messages: Sequence[bytes], now: datetime) -> Taken:
    """Store what ``author`` sent and give what has joined its chain; safe to repeat, in any order, by several workers."""
    chain = Chain.objects.select_for_update(no_key=True).filter(author=author).first()
    if chain is None:
        return Taken(None, dropped=("unknown-author",) * len(messages))
    arrived, dropped = _verified(chain, messages)
    _store(chain, arrived, now)
    joined = () if chain.broken else _join(chain)
    return Taken(chain.project_id, joined, dropped)


@dataclass(frozen=True, slots=True)
class _Going:
    """What came of one author: what just continues its chain, in order, and what is said to be part of it already."""

    chain: Chain
    following: tuple[Arrived, ...]
    known: frozenset[tuple[int, str]]


def take_together(
    messages: Mapping[str, Sequence[bytes]], is_plain: Callable[[Record], bool], now: datetime
) -> dict[str, tuple[Record, ...]]:
    """Store what just continues its author's chain and is plain, of many authors with few statements.

    Gives what joined, by author; nothing of an author whose records are all stored already, as when another worker was first. An
    author of whom anything else came (a gap, forged, forked, not plain) is left out, with all of it: ``take`` is for those. In the
    caller's transaction.
    """
    # In one order everywhere: two workers must not wait for each other.
    chains = (
        Chain.objects.select_for_update(no_key=True).filter(author__in=list(messages), broken="").order_by("author")
    )
    going = [one for chain in chains if (one := _going(chain, messages[chain.author], is_plain)) is not None]
    stored = _stored_of(going)
    found = [one for one in going if _fits(one, stored[one.chain.author])]
    Row.objects.bulk_create([_row(one.chain.project_id, each, now) for one in found for each in one.following])
    moved = [one for one in found if one.following]
    for one in moved:
        last = one.following[-1].record.head
        one.chain.n, one.chain.digest = last.n, last.digest
    store_each([one.chain for one in moved], ("n", "digest"))
    return {one.chain.author: tuple(each.record for each in one.following) for one in found}


def _going(chain: Chain, messages: Sequence[bytes], is_plain: Callable[[Record], bool]) -> _Going | None:
    """Sort what came of an author; None where there is more to it than continuing the chain as it is."""
    arrived, dropped = _verified(chain, messages)
    known = frozenset((one.n, str(one.digest)) for each in arrived if (one := each.record.head).n <= chain.n)
    ahead = {each.record.head: each for each in arrived if each.record.head.n > chain.n}
    following = tuple(sorted(ahead.values(), key=lambda each: each.record.head.n))
    joined = advance(head_of(chain), (each.record for each in following)).joined
    is_all = not dropped and len(joined) == len(following) and all(map(is_plain, joined))
    return _Going(chain, following, known) if is_all else None


def _stored_of(going: Sequence[_Going]) -> dict[str, set[tuple[int, str]]]:
    """Give what is stored of these authors under the numbers that came, and under the one behind them."""
    stored: dict[str, set[tuple[int, str]]] = {one.chain.author: set() for one in going}
    numbers = {n for one in going for n, _ in one.known}
    numbers |= {one.chain.n + step for one in going for step in range(1, len(one.following) + 2)}
    epochs = {one.chain.author: one.chain.epoch for one in going}
    rows = Row.objects.filter(author__in=list(stored), n__in=numbers)
    for author, epoch, n, digest in rows.values_list("author", "epoch", "n", "digest"):
        if epoch == epochs[author]:
            stored[author].add((n, digest))
    return stored


def _fits(one: _Going, stored: set[tuple[int, str]]) -> bool:
    """Tell whether what is said to be stored is, as it is, and nothing waits ahead of the chain's head."""
    return one.known <= stored and all(n <= one.chain.n for n, _ in stored)


def _verified(chain: Chain, messages: Sequence[bytes]) -> tuple[list[Arrived], tuple[str, ...]]:
    arrived: list[Arrived] = []
    dropped: list[str] = []
    for raw in messages:
        found = read_record(chain.public_key, raw)
        if isinstance(found, str):
            dropped.append(found)
        elif found.author != chain.author or found.head.epoch != chain.epoch:
            dropped.append("other-author")
        elif found.head.n > chain.n + FURTHEST_AHEAD:
            dropped.append("too-far-ahead")
        else:
            arrived.append(Arrived(found, raw))
    return arrived, tuple(dropped)


def read_record(public_key: str, raw: bytes) -> Record | str:
    """Read a record that ``public_key`` signed; gives the reason, in one word, when it is none."""
    try:
        return record_from_payload(KeyRing([public_key]).verify(decode(raw, expected="record")))
    except (NotAnEnvelope, SignatureRefused) as refused:
        return refused.code
    except (UnknownVersion, Malformed, BadKey):
        return "malformed"


def _store(chain: Chain, arrived: Sequence[Arrived], now: datetime) -> None:
    numbers = [one.record.head.n for one in arrived]
    known = dict(Row.objects.filter(author=chain.author, epoch=chain.epoch, n__in=numbers).values_list("n", "digest"))
    for one in arrived:
        stored = known.setdefault(one.record.head.n, str(one.record.head.digest))
        if stored != one.record.head.digest:
            _break(chain, f"two records {one.record.head.n} were signed", one.record.head.digest)
    Row.objects.bulk_create([_row(chain.project_id, one, now) for one in arrived], ignore_conflicts=True)


def _row(project: str, one: Arrived, now: datetime) -> Row:
    record = one.record
    return Row(
        project_id=project,
        author=record.author,
        epoch=record.head.epoch,
        n=record.head.n,
        digest=str(record.head.digest),
        verb=record.fact.verb,
        at=time_from_ms_or_none(record.moment.at),
        received_at=now,
        session=record.fact.session,
        device=record.fact.device,
        data=dict(record.fact.data),
        envelope=one.envelope,
    )


def _join(chain: Chain) -> tuple[Record, ...]:
    """Move the head over what is stored without a gap."""
    rows = Row.objects.filter(author=chain.author, epoch=chain.epoch, n__gt=chain.n).order_by("n")[:FURTHEST_AHEAD]
    last = head_of(chain)
    moved = advance(last, (record_from_payload(decode(bytes(row.envelope), expected="record").payload) for row in rows))
    chain.n, chain.digest = moved.head.n, moved.head.digest
    chain.save(update_fields=["n", "digest"])
    if moved.fault is not None:
        _break(chain, moved.fault, None)
    return moved.joined


def _break(chain: Chain, why: str, other: str | None) -> None:
    """Say once that a chain is forked; from then on nothing joins it until an administrator has looked."""
    if chain.broken:
        return
    chain.broken = why
    chain.save(update_fields=["broken"])
    device = chain.author.removeprefix("device:") if chain.author.startswith("device:") else None
    data = {"code": "history.forked", "author": chain.author, "why": why, "n": chain.n, "other_digest": other}
    note(chain.project, "console.alarm", device=device, data=data)


def receipts_for(authors: Iterable[str], keys: RecordKeys, now: datetime) -> dict[str, bytes]:
    """Sign for each author how far its records are stored without a gap; nothing for whom nobody knows."""
    chains = list(Chain.objects.filter(author__in=list(authors)))
    projects = {chain.project_id for chain in chains}
    of = {project: (keys.record_key(project), console_head(project)) for project in projects}
    return {chain.author: _receipt(chain, *of[chain.project_id], now) for chain in chains}


def receipt_for(author: str, key: SigningKey, now: datetime) -> bytes | None:
    """Sign how far the records of ``author`` are stored without a gap; None for an author whom nobody knows."""
    chain = Chain.objects.filter(author=author).first()
    return None if chain is None else _receipt(chain, key, console_head(chain.project_id), now)


def _receipt(chain: Chain, key: SigningKey, heads: Mapping[str, Head], now: datetime) -> bytes:
    head = head_of(chain)
    receipt = Receipt(ProjectId(chain.project_id), chain.author, head.n, head.digest, ms_from_time(now), heads)
    return key.seal("receipt", payload_from_receipt(receipt))
