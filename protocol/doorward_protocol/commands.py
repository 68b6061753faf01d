"""Commands: what a device does once because somebody asked, as data (protocol.md §4, "Body of part ``command``").

Each command is the next revision of the part ``command``, so what makes an old order worthless makes a command run at most
once: a lower revision is refused, an equal one is answered with how it went. Reads and writes; judges nothing.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from doorward_protocol import fields
from doorward_protocol.asked import Asked, asked_from
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import CommandId, is_id

READ_SETTINGS: Final = "settings-read"
HOOK_VERBS: Final = (
    "reboot", "shutdown", "suspend", "factory-reset", "message", "system-info", "health", READ_SETTINGS,
)  # fmt: skip
"""What the runner does, each by a hook of that name."""
AGENT_VERBS: Final = ("rehearse", "test-forward")
"""What the agent does itself, without root; the runner refuses it."""
VERBS: Final = HOOK_VERBS + AGENT_VERBS
"""What may be asked of a device."""
ENDS_THE_BOOT: Final = ("reboot", "shutdown", "factory-reset")
"""A boot later than the one in which it began is how these succeed: nobody is left to say so."""
MAX_ARGUMENTS_BYTES: Final = 4_096
MAX_RESULT_BYTES: Final = 32_768
MAX_SAID: Final = 4_096
"""Characters of what a hook said to people: its last ones."""


class RunCommand(NamedTuple):
    """Body of a command.

    Attributes:
        arguments: for the hook, by name; for people who read the history, too.
        expires_at: a device that hears of it later refuses it.
    """

    command: CommandId
    verb: str
    arguments: Mapping[str, Any]
    expires_at: int
    asked: Asked


class Outcome(NamedTuple):
    """How a command went.

    Attributes:
        code: None where it went well; else one of ``reasons``.
        status: the hook's exit status; None where it did not run to its end.
        said: what it said to people, the last of it.
        result: what it answered, for those verbs that answer something.
    """

    code: str | None
    status: int | None = None
    said: str = ""
    result: Mapping[str, Any] | None = None
    lasted_ms: int = 0


def command_from(source: Mapping[str, Any]) -> RunCommand:
    """Read a body; raises Malformed."""
    name = fields.text(source, "command", longest=18)
    if not is_id("c", name):
        raise Malformed("command", "an id of kind c")
    arguments = fields.mapping(source, "arguments")
    if size_bytes(arguments) > MAX_ARGUMENTS_BYTES:
        raise Malformed("arguments", f"at most {MAX_ARGUMENTS_BYTES} bytes")
    return RunCommand(
        command=CommandId(name),
        verb=fields.text(source, "verb", longest=40),
        arguments=arguments,
        expires_at=fields.integer(source, "expires_at"),
        asked=asked_from(fields.mapping(source, "asked")),
    )


def document_from_command(command: RunCommand) -> dict[str, Any]:
    """Write a body."""
    return {**command._asdict(), "arguments": dict(command.arguments), "asked": command.asked._asdict()}


def outcome_from(source: Mapping[str, Any]) -> Outcome:
    """Read how a command went, as runner and device say it; raises Malformed."""
    result = source.get("result")
    return Outcome(
        code=fields.text_or_none(source, "code", longest=60),
        status=None if source.get("status") is None else fields.integer(source, "status", least=-255, most=255),
        said=fields.text(source, "said", longest=MAX_SAID),
        result=None if result is None else fields.mapping(source, "result"),
        lasted_ms=fields.integer(source, "lasted_ms"),
    )


def size_bytes(document: Mapping[str, Any]) -> int:
    """Give how long a document is as JSON on one line."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())
