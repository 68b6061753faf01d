"""Records: lines of a history that an outsider can check (protocol.md §5).

An author's records form a chain: each names the digest of the one before. ``Chain`` continues one; ``check_link`` says
whether the next one fits. Writing down and sending are other people's business.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.digests import Digest, digest_of, is_digest
from doorward_protocol.fields import Malformed
from doorward_protocol.orders import UnknownVersion

AUTHOR_KINDS: Final = ("console", "device", "relay")


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain: its number and digest; number 0 and no digest before the first."""

    epoch: int = 0
    n: int = 0
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, as its author knew it.

    Attributes:
        at: console time in ms, or None for a device that has not heard it since it booted.
        boot: the boot id, or None for console and relay.
        uptime_ms: the boot-time clock, or None for console and relay.
    """

    at: int | None
    boot: str | None = None
    uptime_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened: the part of a record that its author chooses."""

    verb: str
    session: str | None = None
    device: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One record, read but not verified."""

    author: str
    head: Head
    prev: Digest | None
    moment: Moment
    fact: Fact
    heads: Mapping[str, Head]


def next_payload(author: str, last: Head, moment: Moment, fact: Fact, heads: Mapping[str, Head]) -> bytes:
    """Write the record that follows ``last`` in the chain of ``author``."""
    document = {
        "type": "record",
        "v": 1,
        "author": author,
        "epoch": last.epoch,
        "n": last.n + 1,
        "prev": last.digest,
        "at": moment.at,
        "boot": moment.boot,
        "uptime_ms": moment.uptime_ms,
        "verb": fact.verb,
        "session": fact.session,
        "device": fact.device,
        "data": fact.data,
        "heads": {name: document_from_head(head) for name, head in heads.items()},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def head_after(payload: bytes, last: Head) -> Head:
    """Name the chain's head once ``payload``, which follows ``last``, is part of it."""
    return Head(last.epoch, last.n + 1, digest_of(payload))


def record_from_payload(payload: bytes) -> Record:
    """Read a record; raises UnknownVersion or Malformed."""
    source = fields.object_from_json(payload)
    if source.get("type") != "record" or source.get("v") != 1:
        raise UnknownVersion
    author = fields.text(source, "author", longest=40)
    if author.partition(":")[0] not in AUTHOR_KINDS:
        raise Malformed("author", "console:…, device:… or relay:…")
    number = fields.integer(source, "n", least=1)
    heads = fields.mapping(source, "heads")
    return Record(
        author=author,
        head=Head(fields.integer(source, "epoch"), number, digest_of(payload)),
        prev=_digest_or_none(source, "prev"),
        moment=Moment(
            fields.integer_or_none(source, "at"),
            fields.text_or_none(source, "boot", longest=64),
            fields.integer_or_none(source, "uptime_ms"),
        ),
        fact=Fact(
            fields.text(source, "verb", longest=60),
            fields.text_or_none(source, "session", longest=18),
            fields.text_or_none(source, "device", longest=18),
            fields.mapping(source, "data"),
        ),
        heads={name: head_from_document(fields.mapping(heads, name)) for name in heads},
    )


def check_link(last: Head, following: Record) -> str | None:
    """Say why ``following`` does not continue the chain that ends in ``last``, or None if it does."""
    if following.head.epoch != last.epoch:
        return f"epoch {following.head.epoch} follows epoch {last.epoch}"
    if following.head.n != last.n + 1:
        return f"record {following.head.n} follows record {last.n}"
    if following.prev != last.digest:
        return f"record {following.head.n} does not name the digest of record {last.n}"
    return None


def document_from_head(head: Head) -> dict[str, Any]:
    """Write a head as a JSON object."""
    return {"epoch": head.epoch, "n": head.n, "digest": head.digest}


def head_from_document(source: Mapping[str, Any]) -> Head:
    """Read a head; raises Malformed."""
    return Head(fields.integer(source, "epoch"), fields.integer(source, "n"), _digest_or_none(source, "digest"))


def _digest_or_none(source: Mapping[str, Any], name: str) -> Digest | None:
    value = fields.text_or_none(source, name, longest=71)
    if value is not None and not is_digest(value):
        raise Malformed(name, "a digest")
    return None if value is None else Digest(value)
