"""What the device has accepted and what it has ended: the counters that make an old order worthless.

Written down durably before anything is done about an order. Pure: reading and writing the document is the store's work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from doorward_protocol.digests import Digest
from doorward_protocol.ids import SessionId
from doorward_protocol.revisions import NEVER, Revision

MOST_ENDED: Final = 1_000
"""An ended session can only come back in an order that is fresh and signed; the thousand last are plenty."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """By part (``door``, ``settings``): the last accepted revision and digest; the ended sessions, oldest first."""

    parts: Mapping[str, tuple[Revision, Digest | None]] = field(default_factory=dict)
    ended: tuple[SessionId, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> tuple[Revision, Digest | None]:
        return self.parts.get(name, (NEVER, None))


def accepted(holdings: Holdings, part: str, revision: Revision, digest: Digest) -> Holdings:
    return replace(holdings, parts={**holdings.parts, part: (revision, digest)})


def ended(holdings: Holdings, session: SessionId) -> Holdings:
    """Add a session that never opens again."""
    if session in holdings.ended:
        return holdings
    return replace(holdings, ended=(*holdings.ended, session)[-MOST_ENDED:])


def with_settings(holdings: Holdings, values: Mapping[str, Any]) -> Holdings:
    """Hold the document that is reported from now on."""
    return replace(holdings, settings=values)


def document_from_holdings(holdings: Holdings) -> Mapping[str, Any]:
    return {
        "v": 1,
        "parts": {
            name: {"epoch": revision.epoch, "revision": revision.number, "digest": digest}
            for name, (revision, digest) in holdings.parts.items()
        },
        "ended": list(holdings.ended),
        "settings": holdings.settings,
    }


def holdings_from_document(document: Mapping[str, Any] | None) -> Holdings:
    """Read what was written down; None, before the first order, holds nothing. Anything malformed is our bug: it raises."""
    if document is None:
        return Holdings()
    return Holdings(
        parts={
            name: (Revision(part["epoch"], part["revision"]), part["digest"])
            for name, part in document["parts"].items()
        },
        ended=tuple(document["ended"]),
        settings=document["settings"],
    )
