"""How far a chain stands without a gap: pure, over heads and records that were verified before.

Called by ``inbox`` for what has come, by ``verify`` for what was exported.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from doorward_protocol.records import Head, Record, check_link


@dataclass(frozen=True, slots=True)
class Advance:
    """What became of a chain.

    Attributes:
        head: its last record without a gap.
        joined: the records that now belong to it, in their order.
        fault: why the record after ``head`` does not fit, or None.
    """

    head: Head
    joined: tuple[Record, ...] = ()
    fault: str | None = None


def advance(head: Head, waiting: Iterable[Record]) -> Advance:
    """Join to ``head`` those of ``waiting`` (ascending by n) that follow it; stop at the first gap or fault."""
    joined: list[Record] = []
    for record in waiting:
        if record.head.n != head.n + 1:
            break
        fault = check_link(head, record)
        if fault is not None:
            return Advance(head, tuple(joined), fault)
        joined.append(record)
        head = record.head
    return Advance(head, tuple(joined))
