"""A project's history as lines of text that ``verify`` checks: a header, then every record's envelope.

All of it is read in one transaction, so that no chain names a record of another that came a moment later.
"""

from collections.abc import Iterator

from django.db import connection, transaction
from doorward_protocol.envelope import decode, encode

from doorward_console.history.models import Chain, Record
from doorward_console.history.own import head_of
from doorward_console.history.verify import Claimed, header_text

PAGE = 1000


def lines_of(project: str) -> Iterator[str]:
    """Give the lines of a project's export, without line ends; must be read to its end."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        chains = list(Chain.objects.filter(project=project).order_by("author"))
        told = {one.author: one for one in chains if one.n or one.broken}
        yield header_text(project, {author: _claimed(one) for author, one in told.items()})
        for chain in told.values():
            yield from _records(chain)


def _claimed(chain: Chain) -> Claimed:
    return Claimed(chain.public_key, head_of(chain), chain.broken)


def _records(chain: Chain) -> Iterator[str]:
    """Give a chain's records up to its head; of a forked one everything that came, as evidence."""
    rows = Record.objects.filter(author=chain.author).order_by("epoch", "n")
    for row in rows.iterator(chunk_size=PAGE):
        if chain.broken or (row.epoch, row.n) <= (chain.epoch, chain.n):
            yield encode(decode(bytes(row.envelope), expected="record")).decode()
