"""Asks: what a device says of itself, and the nonces with which it can be answered (protocol.md §3).

An ask is not signed, so nothing in it is believed: a false nonce only makes an order that the device refuses, a false state
only makes an order that it does not need.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.digests import Digest, is_digest
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, SessionId, is_id
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.records import Head
from doorward_protocol.revisions import NEVER, Revision
from doorward_protocol.targets import Offered, offered_from

DOOR_STATES: Final = ("SHUT", "OPENING", "OPEN", "RETRYING", "CLOSING")
SETTINGS_STATES: Final = ("none", "applying", "trying", "confirmed", "reverting", "reverted", "failed")
MAX_ASK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class DoorReport:
    """What the device says of its door.

    Attributes:
        needs_order: the session's order has to be signed again with the nonces of this ask before the device can go on.
    """

    state: str
    session: SessionId | None
    revision: Revision
    digest: Digest | None
    code: str | None
    needs_order: bool = False


@dataclass(frozen=True, slots=True)
class SettingsReport:
    """What the device says of its settings.

    Attributes:
        state: how the trial of this revision stands, one of SETTINGS_STATES; ``none`` where it tries nothing.
        code: why they were put back, or could not be.
        lacks: ``settings`` or ``confirm`` where that order has to be signed again with the nonces of this ask; else empty.
    """

    revision: Revision
    digest: Digest | None
    values: Mapping[str, Any]
    state: str = "none"
    code: str | None = None
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class CommandReport:
    """What the device says of the last command that it took.

    Attributes:
        needs_order: it has to be signed again with the nonces of this ask before the device can run it.
    """

    revision: Revision = NEVER
    digest: Digest | None = None
    needs_order: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask.

    Attributes:
        command: nothing from an agent that knows no commands.
        verbs: the commands that this device can do; None from an agent that does not say.
        knows_hooks: the runner has said which hooks there are; until then ``verbs`` are the agent's own alone.
        wish: a command that somebody at the device would like the console to ask for.
        forwards: the named forwards that its configuration allows; None from an agent that knows none.
    """

    device: DeviceId
    boot: str
    count: int
    nonce: str
    runner_nonce: str | None
    clock_at: int
    uptime_s: int
    agent: str
    facts: Mapping[str, str]
    door: DoorReport
    settings: SettingsReport
    journal_first: int
    journal: Head
    command: CommandReport = CommandReport()
    verbs: tuple[str, ...] | None = None
    wish: str | None = None
    forwards: tuple[Offered, ...] | None = None
    knows_hooks: bool = True


def bytes_from_ask(ask: Ask) -> bytes:
    """Write an ask as it travels."""
    document = {
        "type": "ask",
        "v": 1,
        "device": ask.device,
        "boot": ask.boot,
        "count": ask.count,
        "nonce": ask.nonce,
        "runner_nonce": ask.runner_nonce,
        "clock_at": ask.clock_at,
        "uptime_s": ask.uptime_s,
        "agent": ask.agent,
        "facts": dict(ask.facts),
        "door": {
            "state": ask.door.state,
            "session": ask.door.session,
            "epoch": ask.door.revision.epoch,
            "revision": ask.door.revision.number,
            "digest": ask.door.digest,
            "code": ask.door.code,
            "needs_order": ask.door.needs_order,
        },
        "settings": {
            "epoch": ask.settings.revision.epoch,
            "revision": ask.settings.revision.number,
            "digest": ask.settings.digest,
            "values": ask.settings.values,
            **_said_of_a_trial(ask.settings),
        },
        "journal": {"first": ask.journal_first, "n": ask.journal.n, "digest": ask.journal.digest},
        **_said_of_commands(ask),
        **({} if ask.forwards is None else {"forwards": [one._asdict() for one in ask.forwards]}),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _said_of_commands(ask: Ask) -> dict[str, Any]:
    """Write what only those say who know commands."""
    if ask.verbs is None:
        return {}
    held = {
        "epoch": ask.command.revision.epoch,
        "revision": ask.command.revision.number,
        "digest": ask.command.digest,
        "needs_order": ask.command.needs_order,
    }
    wish = {} if ask.wish is None else {"wish": ask.wish}
    lack = {} if ask.knows_hooks else {"knows_hooks": False}
    return {"command": held, "verbs": list(ask.verbs), **lack, **wish}


def _said_of_a_trial(settings: SettingsReport) -> dict[str, Any]:
    if settings.state == "none" and not settings.lacks:
        return {}
    return {"state": settings.state, "code": settings.code, "lacks": settings.lacks}


def ask_from_bytes(raw: bytes) -> Ask:
    """Read an ask; raises UnknownVersion or Malformed."""
    if len(raw) > MAX_ASK_BYTES:
        raise Malformed("(message)", f"at most {MAX_ASK_BYTES} bytes")
    source = fields.object_from_json(raw)
    if source.get("type") != "ask" or source.get("v") != 1:
        raise UnknownVersion
    device = fields.text(source, "device", longest=18)
    if not is_id("d", device):
        raise Malformed("device", "a device id")
    journal = fields.mapping(source, "journal")
    return Ask(
        device=DeviceId(device),
        boot=fields.text(source, "boot", longest=64),
        count=fields.integer(source, "count"),
        nonce=fields.text(source, "nonce", longest=64),
        runner_nonce=fields.text_or_none(source, "runner_nonce", longest=64),
        clock_at=fields.integer(source, "clock_at"),
        uptime_s=fields.integer(source, "uptime_s"),
        agent=fields.text(source, "agent", longest=40),
        facts=_facts(fields.mapping(source, "facts")),
        door=_door(fields.mapping(source, "door")),
        settings=_settings(fields.mapping(source, "settings")),
        journal_first=fields.integer(journal, "first"),
        journal=Head(0, fields.integer(journal, "n"), _digest(journal)),
        command=_command(source),
        verbs=_verbs(source),
        wish=None if source.get("wish") is None else fields.text(source, "wish", longest=40),
        forwards=None if source.get("forwards") is None else offered_from(fields.mappings(source, "forwards")),
        knows_hooks=source.get("knows_hooks") is None or fields.boolean(source, "knows_hooks"),
    )


def _facts(source: Mapping[str, Any]) -> Mapping[str, str]:
    """Keep at most 32 short facts: an ask is nobody's file store."""
    names = list(source)[:32]
    return {name[:40]: fields.text(source, name, longest=200) for name in names}


def _door(source: Mapping[str, Any]) -> DoorReport:
    state = fields.text(source, "state", longest=20)
    session = fields.text_or_none(source, "session", longest=18)
    if state not in DOOR_STATES:
        raise Malformed("state", "one of " + ", ".join(DOOR_STATES))
    if session is not None and not is_id("s", session):
        raise Malformed("session", "a session id")
    return DoorReport(
        state=state,
        session=None if session is None else SessionId(session),
        revision=_revision(source),
        digest=_digest(source),
        code=fields.text_or_none(source, "code", longest=60),
        needs_order=fields.boolean(source, "needs_order"),
    )


def _settings(source: Mapping[str, Any]) -> SettingsReport:
    held = SettingsReport(_revision(source), _digest(source), fields.mapping(source, "values"))
    if source.get("state") is None:
        return held
    state = fields.text(source, "state", longest=20)
    if state not in SETTINGS_STATES:
        raise Malformed("state", "one of " + ", ".join(SETTINGS_STATES))
    code, lacks = fields.text_or_none(source, "code", longest=60), fields.text(source, "lacks", longest=20)
    return replace(held, state=state, code=code, lacks=lacks)


def _command(source: Mapping[str, Any]) -> CommandReport:
    if source.get("command") is None:
        return CommandReport()
    said = fields.mapping(source, "command")
    return CommandReport(_revision(said), _digest(said), fields.boolean(said, "needs_order"))


def _verbs(source: Mapping[str, Any]) -> tuple[str, ...] | None:
    return None if source.get("verbs") is None else tuple(one[:40] for one in fields.texts(source, "verbs", most=64))


def _revision(source: Mapping[str, Any]) -> Revision:
    return Revision(fields.integer(source, "epoch"), fields.integer(source, "revision"))


def _digest(source: Mapping[str, Any]) -> Digest | None:
    value = fields.text_or_none(source, "digest", longest=71)
    if value is not None and not is_digest(value):
        raise Malformed("digest", "a digest")
    return None if value is None else Digest(value)
