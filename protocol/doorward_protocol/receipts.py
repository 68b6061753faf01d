"""Receipts: the console's word that records are stored (protocol.md §6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from doorward_protocol import fields
from doorward_protocol.digests import Digest, is_digest
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import ProjectId
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.records import Head, document_from_head, head_from_document


@dataclass(frozen=True, slots=True)
class Receipt:
    """``author``'s records are stored without a gap up to ``upto``, whose digest is ``digest``."""

    project: ProjectId
    author: str
    upto: int
    digest: Digest | None
    at: int
    heads: Mapping[str, Head]


def payload_from_receipt(receipt: Receipt) -> bytes:
    """Write a receipt as it is signed."""
    document = {
        "type": "receipt",
        "v": 1,
        "project": receipt.project,
        "author": receipt.author,
        "upto": receipt.upto,
        "digest": receipt.digest,
        "at": receipt.at,
        "heads": {name: document_from_head(head) for name, head in receipt.heads.items()},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def receipt_from_payload(payload: bytes) -> Receipt:
    """Read a receipt; raises UnknownVersion or Malformed."""
    source = fields.object_from_json(payload)
    if source.get("type") != "receipt" or source.get("v") != 1:
        raise UnknownVersion
    digest = fields.text_or_none(source, "digest", longest=71)
    if digest is not None and not is_digest(digest):
        raise Malformed("digest", "a digest")
    heads = fields.mapping(source, "heads")
    return Receipt(
        project=ProjectId(fields.text(source, "project", longest=18)),
        author=fields.text(source, "author", longest=40),
        upto=fields.integer(source, "upto"),
        digest=None if digest is None else Digest(digest),
        at=fields.integer(source, "at"),
        heads={name: head_from_document(fields.mapping(heads, name)) for name in heads},
    )
