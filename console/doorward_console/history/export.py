"""A project's history as lines of text that ``verify`` checks: a header, then every record's envelope.

All heads are read in one statement, and rows below a head never change; so the export is of one moment without holding a
transaction while somebody downloads it. What a record names was stored before the record was, so it is below those heads.
"""

from collections.abc import Iterator
from typing import Final

from django.db.models import Q, QuerySet
from doorward_protocol.envelope import decode, encode

from doorward_console.history.models import Chain, Record
from doorward_console.history.own import head_of
from doorward_console.history.verify import Claimed, header_text

PAGE: Final = 100
"""Records that are read at a time: of the longest, 6 MiB."""


def lines_of(project: str) -> Iterator[str]:
    """Give the lines of a project's export, without line ends."""
    chains = list(Chain.objects.filter(project=project).order_by("author"))
    told = [one for one in chains if one.n or one.broken]
    yield header_text(project, {one.author: _claimed(one) for one in told})
    for chain in told:
        yield from _records(chain)


def _claimed(chain: Chain) -> Claimed:
    return Claimed(chain.public_key, head_of(chain), chain.broken)


def _records(chain: Chain) -> Iterator[str]:
    """Give a chain's records up to its head; of a forked one everything that came, as evidence."""
    rows = Record.objects.filter(author=chain.author).order_by("epoch", "n")
    after = (-1, 0)
    while page := list(_after(rows, after)[:PAGE]):
        for row in page:
            if chain.broken or (row.epoch, row.n) <= (chain.epoch, chain.n):
                yield encode(decode(bytes(row.envelope), expected="record")).decode()
        after = (page[-1].epoch, page[-1].n)


def _after(rows: "QuerySet[Record]", place: tuple[int, int]) -> "QuerySet[Record]":
    epoch, n = place
    later: QuerySet[Record] = rows.filter(Q(epoch__gt=epoch) | Q(epoch=epoch, n__gt=n))
    return later
