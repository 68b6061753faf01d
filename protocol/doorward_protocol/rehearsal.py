"""Rehearsals: a command's arguments, by which a device tries the way to its relays without opening anything, and how each step went.

Everything but the door itself is real: the relay's name, its host key, a certificate of the tunnel CA for a session of the
rehearsal's own. Its grant has no forward, so the one that the device asks for must be refused (protocol.md §4, "A rehearsal").
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import SessionId, is_id
from doorward_protocol.orders import RelayRoute, route_from
from doorward_protocol.ssh_keys import is_plain_key

VERB: Final = "rehearse"
LASTS_S: Final = 300
"""How long certificate and grant of a rehearsal are good at most: a device tells how it went within a minute."""
STEPS: Final = ("resolve", "connect", "host-key", "log-in", "refusal")
"""What is tried, in this order; the first that fails is the last that is tried."""
GRANTED: Final = "rehearsal.granted"
"""The relay granted what it had to refuse."""


class Rehearsal(NamedTuple):
    """What a device is to try.

    Attributes:
        session: names the certificate's grant; never a door's.
        port: the port of the relay that is asked for, and granted to nobody.
    """

    session: SessionId
    port: int
    relays: tuple[RelayRoute, ...]


class Step(NamedTuple):
    """How one step went.

    Attributes:
        ms: how long it took; None where this device cannot tell it from the next one.
        code: None where it went well.
    """

    step: str
    ms: int | None
    code: str | None = None


class Rehearsed(NamedTuple):
    """How a rehearsal went with one relay.

    Attributes:
        way: who dialled: ``ssh`` or ``paramiko``; None where nobody came to that.
        opens_in_ms: from the first packet of a dial to the relay's answer, as in an opening; the door starts meanwhile.
    """

    relay: str
    way: str | None
    steps: tuple[Step, ...]
    opens_in_ms: int | None = None

    @property
    def code(self) -> str | None:
        """Why a door would not open; None where it would."""
        return next((step.code for step in self.steps if step.code is not None), None)


def rehearsal_from_arguments(source: Mapping[str, Any]) -> Rehearsal:
    """Read a command's arguments; raises Malformed."""
    session = fields.text(source, "session", longest=18)
    if not is_id("s", session):
        raise Malformed("session", "an id of kind s")
    relays = tuple(route_from(one) for one in fields.mappings(source, "relays", most=8))
    if not relays:
        raise Malformed("relays", "at least one")
    if not all(is_plain_key(line) for relay in relays for line in relay.host_keys):
        raise Malformed("host_keys", "a key and nothing else")
    return Rehearsal(SessionId(session), fields.integer(source, "port", least=1, most=65_535), relays)


def arguments_from_rehearsal(rehearsal: Rehearsal) -> dict[str, Any]:
    """Write a command's arguments."""
    return {**rehearsal._asdict(), "relays": [relay._asdict() for relay in rehearsal.relays]}


def result_from_rehearsed(rehearsed: Rehearsed) -> dict[str, Any]:
    """Write a command's result."""
    return {**rehearsed._asdict(), "steps": [step._asdict() for step in rehearsed.steps]}


def rehearsed_from_result(source: Mapping[str, Any]) -> Rehearsed:
    """Read a command's result; raises Malformed."""
    opens_in_ms = None if source.get("opens_in_ms") is None else fields.integer(source, "opens_in_ms")
    return Rehearsed(
        relay=fields.text(source, "relay", longest=18),
        way=fields.text_or_none(source, "way", longest=20),
        steps=_steps(fields.mappings(source, "steps", most=len(STEPS))),
        opens_in_ms=opens_in_ms,
    )


def _steps(sources: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(
        Step(
            fields.text(one, "step", longest=20),
            None if one.get("ms") is None else fields.integer(one, "ms"),
            fields.text_or_none(one, "code", longest=60),
        )
        for one in sources
    )
