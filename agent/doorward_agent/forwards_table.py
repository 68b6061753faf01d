"""The table ``[forwards]`` of the agent's configuration: a name for each target, with all that is wrong with it. Called by ``config``."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from doorward_protocol.fields import Malformed
from doorward_protocol.targets import LONGEST_NAME, is_forward_name, target_from_text

from doorward_agent.config import AllowedForward

MOST = 32


def forwards_from_table(value: Any) -> tuple[Mapping[str, AllowedForward], list[str]]:
    """Read the table; gives its forwards, and its faults."""
    if not isinstance(value, dict):
        return {}, ["forwards has to be a table of names and targets"]
    faults = [] if len(value) <= MOST else [f"forwards has more than {MOST} names"]
    found: dict[str, AllowedForward] = {}
    for name, said in value.items():
        one = _allowed(said)
        wrong = list(_faults(name, one))
        faults += wrong
        if not wrong and one is not None:
            found[name] = one
    return found, faults


def _allowed(said: Any) -> AllowedForward | None:
    """Read ``"tcp:HOST:PORT"`` or ``{target = …, within = […]}``."""
    if isinstance(said, str):
        return AllowedForward(said)
    if not isinstance(said, dict) or not said.keys() <= {"target", "within"} or not isinstance(said.get("target"), str):
        return None
    within = said.get("within", [])
    is_list = isinstance(within, list) and all(isinstance(one, str) for one in within)
    return AllowedForward(said["target"], tuple(within)) if is_list else None


def _faults(name: str, one: AllowedForward | None) -> Iterator[str]:
    place = f"forwards.{name[:LONGEST_NAME]}"
    if not is_forward_name(name):
        yield f"{place} is no name of a forward: small letters, digits and hyphens between them, at most {LONGEST_NAME}, and not ssh"
    if one is None:
        yield f'{place} has to be "tcp:HOST:PORT", or {{ target = "tcp:HOST:PORT", within = ["10.0.0.0/8"] }}'
        return
    try:
        target_from_text(one.target)
    except Malformed:
        yield f"{place} has to lead to tcp:HOST:PORT, an IPv6 address in brackets; {one.target[:60]!r} is none"
    yield from (
        f"{place} is within {network[:40]!r}, which is no network" for network in one.within if not _is_network(network)
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
