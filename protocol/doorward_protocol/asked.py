"""Who asked: the same three fields in an order to open, in a grant and in a command."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from doorward_protocol import fields


class Asked(NamedTuple):
    """Who wanted this, when and why; shown to people, decided on by nobody."""

    by: str
    at: int
    reason: str


def asked_from(source: Mapping[str, Any]) -> Asked:
    """Read who asked; raises Malformed."""
    return Asked(
        by=fields.text(source, "by", longest=320),
        at=fields.integer(source, "at"),
        reason=fields.text(source, "reason", longest=1000),
    )
