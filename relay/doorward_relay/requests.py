"""What the control API may ask, read from JSON: sizes, types and names checked before anybody acts (protocol.md §7)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import SessionId, is_id
from doorward_protocol.revisions import Revision

MOST_SESSIONS: Final = 20_000
"""More than a relay has ports in its default range."""


class RequestRefused(Exception):
    """The relay will not or cannot do that; ``code`` is a reason code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class EndRequest:
    """End a session."""

    sequence: Revision
    why: str


@dataclass(frozen=True, slots=True)
class ReconcileRequest:
    """The console's list of live sessions, as of a sequence."""

    as_of: Revision
    sessions: tuple[str, ...]


def envelope_bytes(source: Mapping[str, Any], name: str) -> bytes:
    """Give an envelope inside a request as bytes again; the same envelope gives the same bytes."""
    return json.dumps(fields.mapping(source, name), sort_keys=True, separators=(",", ":")).encode()


def end_request(source: Mapping[str, Any]) -> EndRequest:
    """Read the body of an end; raises Malformed."""
    sequence = Revision(fields.integer(source, "epoch"), fields.integer(source, "seq"))
    return EndRequest(sequence, fields.text(source, "why", longest=200))


def reconcile_request(source: Mapping[str, Any]) -> ReconcileRequest:
    """Read the console's list; raises Malformed."""
    as_of = Revision(fields.integer(source, "epoch"), fields.integer(source, "as_of"))
    return ReconcileRequest(as_of, fields.texts(source, "sessions", most=MOST_SESSIONS, longest=18))


def session_id(text: str) -> SessionId:
    """Read a session id from a path; raises Malformed."""
    if not is_id("s", text):
        raise Malformed("session", "an id of kind s")
    return SessionId(text)
