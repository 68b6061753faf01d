"""Targets: what a named forward leads to, as text (``tcp:10.0.0.5:5432``), and how testing one went (protocol.md §4).

Reads and writes; which targets a device allows stands in its own configuration, and what a name resolves to is nobody's
business here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.rehearsal import Step

DOOR: Final = "ssh"
"""Target of the first forward of every door order: the door itself."""
TEST: Final = "test-forward"
"""The command that has a device test one of its forwards."""
STEPS: Final = ("allow", "resolve", "connect", "banner")
"""What a test tries, in this order; the first that fails is the last that is tried. A target that says nothing has no banner, and no fault."""
MOST_NAMED: Final = 7
"""Forwards of a session besides the door."""
LONGEST_NAME: Final = 40
LONGEST_BANNER: Final = 100

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_TARGET: Final = re.compile(r"tcp:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):([1-9][0-9]{0,4})")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_BYTE: Final = re.compile(r"0|[1-9][0-9]{0,2}")


class Target(NamedTuple):
    """A TCP service: a name or an address as it was written, and a port."""

    host: str
    port: int


class Offered(NamedTuple):
    """A forward that a device's configuration allows."""

    name: str
    target: str


class ForwardTest(NamedTuple):
    """What a device is to test."""

    name: str


class Tried(NamedTuple):
    """How a test went.

    Attributes:
        target: empty where the device has no forward of that name.
        address: the one that was connected to, or refused; empty before there was one.
        banner: what the target said first, its printable characters.
    """

    name: str
    target: str
    address: str
    steps: tuple[Step, ...]
    banner: str = ""

    @property
    def code(self) -> str | None:
        """Why it failed; None where the target took the connection."""
        return next((step.code for step in self.steps if step.code is not None), None)


def is_forward_name(text: str) -> bool:
    """Tell whether ``text`` may name a forward: small letters, digits and inner hyphens; ``ssh`` is the door's own."""
    return _NAME.fullmatch(text) is not None and text != DOOR


def target_from_text(text: str) -> Target:
    """Read ``tcp:HOST:PORT`` or ``tcp:[IPv6]:PORT``; raises Malformed.

    What a resolver might take for an address although it is not written as one (``127.1``, ``0x7f.1``) is neither.
    """
    found = _TARGET.fullmatch(text)
    if found is None or int(found[3]) > 65_535:
        raise Malformed("target", "tcp:HOST:PORT")
    host = found[1] or found[2]
    if found[1] is None and not _is_host(host):
        raise Malformed("target", "tcp:HOST:PORT with a name or an address for HOST")
    return Target(host, int(found[3]))


def _is_host(host: str) -> bool:
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    if labels[-1].isdigit() or labels[-1].lower().startswith("0x"):
        return len(labels) == 4 and all(_BYTE.fullmatch(label) and int(label) < 256 for label in labels)
    return True


def forward_test_from(source: Mapping[str, Any]) -> ForwardTest:
    """Read a command's arguments; what names no forward names one that no device has."""
    name = source.get("name")
    return ForwardTest(name if isinstance(name, str) and is_forward_name(name) else "")


def result_from_tried(tried: Tried) -> dict[str, Any]:
    """Write a command's result."""
    return {**tried._asdict(), "steps": [step._asdict() for step in tried.steps]}


def tried_from_result(source: Mapping[str, Any]) -> Tried:
    """Read a command's result; raises Malformed."""
    return Tried(
        name=fields.text(source, "name", longest=LONGEST_NAME),
        target=fields.text(source, "target", longest=300),
        address=fields.text(source, "address", longest=60),
        steps=_steps(fields.mappings(source, "steps", most=len(STEPS))),
        banner=fields.text(source, "banner", longest=LONGEST_BANNER),
    )


def _steps(sources: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(
        Step(
            fields.text(one, "step", longest=20),
            fields.integer(one, "ms"),
            fields.text_or_none(one, "code", longest=60),
        )
        for one in sources
    )


def offered_from(sources: Sequence[Mapping[str, Any]]) -> tuple[Offered, ...]:
    """Read what a device offers; raises Malformed."""
    return tuple(
        Offered(fields.text(one, "name", longest=LONGEST_NAME), fields.text(one, "target", longest=300))
        for one in sources
    )
