"""The history in sentences: what a line says, from its verb and its data, for people. Pure.

The verbs' own sentences stand in the protocol (``doorward_protocol.audit``); here is only how a line's details and its
session's end are said.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from doorward_protocol.audit import VERBS
from doorward_protocol.reasons import Reason, reason_of

from doorward_console.history.queries import Line
from doorward_console.maintenance.commands.shown import name_of, shown
from doorward_console.maintenance.models import Command, Session

SHARES_USER = "whoever logs in shares the agent's user"
"""Said of a device without root: an engineer there could forge what the agent reports."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an opening ended or stands: a word with its tone, when, and why."""

    word: str
    tone: str
    at: datetime | None = None
    by: str = ""
    reason: Reason | None = None


def title_of(verb: str) -> str:
    """Say a verb; one that this version does not know says its own name."""
    known = VERBS.get(verb)
    return known.sentence if known else verb


def _title_of(line: Line) -> str:
    """Say a line's verb; where it speaks of a command, with the command's name instead of "a command"."""
    title = title_of(line.verb)
    if "command" not in line.data and "batch" not in line.data:
        return title
    named = f"“{name_of(str(line.data.get('verb')))}”"
    return _A_COMMAND.sub(lambda _: named, title, count=1)  # as it stands: a device may say anything


_A_COMMAND = re.compile(r"\b(?:a|the) command\b", re.IGNORECASE)
_ASKED_BY_OTHERS = frozenset({"command.ordered", "command.refused", "command.ended"})
"""What doorward itself says of a command: it names who had asked for it."""


def details_of(data: Mapping[str, Any]) -> str:
    """Say what else a line knows: names, roles, ports, durations, codes; of a command how it ended, and a message's text."""
    said = [_said(name, data[name]) for name in _DETAILS if data.get(name) not in (None, "", False)]
    return ", ".join([*_of_command(data), *said])


def _of_command(data: Mapping[str, Any]) -> list[str]:
    if "command" not in data and "batch" not in data:
        return []
    arguments = data.get("arguments")
    text = arguments.get("text") if isinstance(arguments, dict) else None
    count, state = data.get("count"), data.get("state")
    return [
        *([f"“{text}”"] if text else []),
        *([f"{count} device{'' if count == 1 else 's'}"] if count is not None else []),
        *([f"{state} (counted as {data['was']} before)" if data.get("was") else str(state)] if state else []),
    ]


_DETAILS = {
    "member": "{}",
    "role": "as {}",
    "name": "{}",
    "paths": "{}",
    "was": "before: {}",
    "target": "leading to {}",
    "forwards": "with {}",
    "relay": "relay {}",
    "port": "port {}",
    "bind": "listening at {}",
    "host": "host {}",
    "part": "{} order",
    "process": "process {}",
    "why": "{}",
    "door": "by {}",
    "shares_user": SHARES_USER,
    "again_after_ms": "after {} ms of silence",
    "after_ms": "after {} ms",
}


_DOORS = {"sshd": "OpenSSH", "embedded": "the embedded server"}


def _said(name: str, value: Any) -> str:
    if name == "door":
        value = _DOORS.get(str(value), value)
    if name == "paths" and isinstance(value, list):
        value = ", ".join(str(one) for one in value)
    if name == "bind":
        value = "the relay's public address" if value == "*" else "the relay's loopback"
    if name == "forwards" and isinstance(value, list):
        value = ", ".join(str(one.get("name")) if isinstance(one, dict) else str(one) for one in value)
    return _DETAILS[name].format(value)


def ending_of(line: Line) -> Ending | None:
    """Say how the opening that a line asked for ended; None for lines that ask for none."""
    if line.verb != "session.on" or line.data.get("already"):
        return None
    session = line.session
    if session is None:
        return (
            Ending("Refused", "failed", reason=reason_of(line.refused)) if line.refused else Ending("Asked", "opening")
        )
    if session.state == Session.State.OPEN:
        return Ending("Open", "open", session.opened_at)
    if session.state == Session.State.FAILED:
        return Ending("Failed", "failed", session.closed_at, reason=reason_of(session.code))
    if session.state == Session.State.CLOSED:
        why = reason_of(session.code) if session.code else None
        word = "Closed" if session.opened_at else "Closed before it opened"
        return Ending(word, "shut", session.closed_at, session.closed_by_name, why)
    return Ending("Closing" if session.state == Session.State.CLOSING else "Opening", "opening")


def _ending_of_command(command: Command) -> Ending:
    one = shown(command)
    return Ending(one.word, one.tone, command.ended_at, command.ended_by_name, one.reason)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line with everything that a page says about it."""

    line: Line
    title: str
    who: str
    author: str
    details: str
    reason: Reason | None
    ending: Ending | None

    @property
    def is_toggle(self) -> bool:
        return self.line.verb in {"session.on", "session.off"}


def entry_of(line: Line) -> Entry:
    """Say a line."""
    code = line.data.get("code")
    title = _title_of(line)
    asker = str(line.data.get("by") or "")
    is_told = line.verb in _ASKED_BY_OTHERS
    if line.data.get("already"):
        title += " (it was already so)"
    return Entry(
        line=line,
        title=title,
        who="" if is_told else asker,
        author=_author(line),
        details=", ".join([*([f"asked for by {asker}"] if is_told else []), *filter(None, [details_of(line.data)])]),
        reason=reason_of(code) if isinstance(code, str) and code else None,
        ending=_ending_of_command(line.command) if line.command else ending_of(line),
    )


def _author(line: Line) -> str:
    kind = line.author.partition(":")[0]
    return "doorward" if kind == "console" else f"the {kind}"
