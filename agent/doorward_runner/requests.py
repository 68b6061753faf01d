"""Requests and answers on the runner's standard input and output (protocol.md §10), as data; pure."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from doorward_protocol import fields
from doorward_protocol.ids import SessionId, is_id


class ObeyOrder(NamedTuple):
    """Judge this envelope and act on it; ``port`` is the loopback port that the agent picked for the door."""

    envelope: bytes
    port: int


class CloseSession(NamedTuple):
    """Shut the door of this session and never open it again; None for whatever is open."""

    session: SessionId | None


class TellStatus(NamedTuple):
    """Say what is open."""


class TellCommand(NamedTuple):
    """Say how the last command went."""


class TellSettings(NamedTuple):
    """Say how the last settings stand."""


class TellHooks(NamedTuple):
    """Say which hooks there are, and why others would not be run."""


Request = ObeyOrder | CloseSession | TellStatus | TellCommand | TellSettings | TellHooks


def request_from_line(line: bytes) -> Request:
    """Read one request; raises ``doorward_protocol.fields.Malformed``."""
    source = fields.object_from_json(line)
    verb = fields.text(source, "verb", longest=20)
    if verb == "order":
        envelope = json.dumps(fields.mapping(source, "envelope"), separators=(",", ":"))
        return ObeyOrder(envelope.encode(), fields.integer(source, "port", least=1024, most=65_535))
    if verb == "close":
        return CloseSession(_session_or_none(source))
    if verb == "status":
        return TellStatus()
    if verb == "command":
        return TellCommand()
    if verb == "settings":
        return TellSettings()
    if verb == "hooks":
        return TellHooks()
    raise fields.Malformed("verb", "order, close, status, command, settings or hooks")


def _session_or_none(source: Mapping[str, Any]) -> SessionId | None:
    session = fields.text_or_none(source, "session", longest=18)
    if session is None:
        return None
    if not is_id("s", session):
        raise fields.Malformed("session", "an id of kind s")
    return SessionId(session)


def line_from_answer(answer: Mapping[str, Any]) -> str:
    """Write one answer as the line that goes back."""
    return json.dumps(answer, separators=(",", ":")) + "\n"


def opened(found: Mapping[str, Any], ended: str | None) -> dict[str, Any]:
    """Answer that a door is open, with what there is to say of it; ``ended`` is the session that had to be shut for it."""
    return {"ok": True, "state": "open", **found, "ended": ended}


def shut(session: str | None) -> dict[str, Any]:
    """Answer that nothing of ``session`` is open."""
    return {"ok": True, "state": "shut", "session": session}


def refused(code: str, message: str) -> dict[str, Any]:
    """Answer no, with a code of ``doorward_protocol.reasons``."""
    return {"ok": False, "code": code, "message": message}
