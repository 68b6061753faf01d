"""What has to hold whatever was done: each as a function that says, one sentence each, what does not; empty when it holds.

Kernel and disk are looked at themselves, and each side is asked; nothing of ours that repairs or reports is relied on. A
check that cannot fire is worth nothing: ``test_invariants`` puts one defect in for each.
"""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.house.house import LOGIN_USER, Device, House
from tests.lab import sightings
from tests.lab.sightings import Weight, Words
from tests.parts.installed import cgroup_root
from tests.parts.waiting import wait_until

UNSENT: Final = ("agent.started", "order.refused")
"""What an idle device keeps for later, so that it need not load a signature library (docs/architecture.md)."""
AGREE_S: Final = 35.0
"""The console compares with a relay every 30 s, and an end takes moments more; docs/reliability.md."""


def stray_listeners(house: House) -> list[str]:
    """No listener without a live grant: by the relay's kernel, for the tunnel user and for the ports of doors; and on devices."""
    uid = sightings.uid_of(house.relay_machine, sightings.TUNNEL_USER)
    live = sightings.relay_status(house)["live"]
    granted = {port for one in live for port in one["ports"]}
    doors = {house.ports.door, house.ports.other_door}
    found = [
        f"relay: {one.address}:{one.port} listens without a live grant (uid {one.uid})"
        for one in sightings.listeners(house.relay_machine)
        if (one.uid == uid or one.port in doors) and one.port not in granted
    ]
    for device in _on(house):
        is_at_rest = house.console.door(device.id)["state"] in sightings.AT_REST
        found += [
            f"{device.name}: {one.address}:{one.port} listens"
            for one in sightings.listeners(device.machine)
            if is_at_rest or not one.address.startswith("127.")
        ]
    return found


def stray_processes(house: House) -> list[str]:
    """No process without a session: on a device at rest there is the agent and nothing else; at the relay, no connection."""
    found = []
    for device in _on(house):
        if house.console.door(device.id)["state"] in sightings.AT_REST:
            found += [f"{device.name}: process {one.pid} of {one.user}: {one.title}" for one in _strangers(device)]
            found += _groups_of(house, device)
    if not sightings.relay_status(house)["live"]:
        found += [
            f"relay: process {one.pid} of {one.user}: {one.title}"
            for one in sightings.processes(house.relay_machine)
            if one.user == sightings.TUNNEL_USER or one.title.startswith(f"sshd: {sightings.TUNNEL_USER}")
        ]
    return found


def _strangers(device: Device) -> Iterator[sightings.Running]:
    for one in sightings.processes(device.machine):
        is_agent = device.agent is not None and "doorward-agent run" in one.title
        if one.pid != 1 and (one.user == LOGIN_USER or not is_agent):
            yield one


def _groups_of(house: House, device: Device) -> list[str]:
    root, session = cgroup_root(), house.console.door(device.id)["session"]
    group = None if root is None or session is None else root / f"doorward-{session}"
    return [f"{device.name}: control group {group}"] if group is not None and group.exists() else []


def disagreements(house: House) -> list[str]:
    """Device, relay and console agree on each door, or the console says which of them does not."""
    return [
        fault for device in house.devices.values() for fault in _differences(device, sightings.words_of(house, device))
    ]


def _differences(device: Device, said: Words) -> list[str]:
    named = {one["who"] for one in said.door["disagreement"]}
    return [
        f"{device.name}: {who} says {what}, the console {said.door['state']}"
        for who, what in _others(said)
        if who not in named
    ]


def _others(said: Words) -> Iterator[tuple[str, str]]:
    """Name who says something else than the console, and what."""
    session, state = said.door["session"], said.device.get("state", "nothing: it is off")
    if not said.device.get("running"):
        state = "nothing: its agent does not run"
    if said.is_at_rest:
        if said.granted:
            yield "relay", f"that {', '.join(said.granted)} is live"
        if state not in {"SHUT", "nothing: it is off"}:
            yield "device", state
    elif said.door["state"] == "open":
        if said.tunnels.get(session) is None:
            yield "relay", f"that {session} has no tunnel"
        if (state, said.device.get("session")) != ("OPEN", session):
            yield "device", state
    elif not said.door["disagreement"]:
        yield "console", f"that it is on the way ({said.door['why']})"


def history_faults(house: House) -> list[str]:
    """No record lost, doubled or out of order, and the history verifies: counted apart from the verifier, too."""
    export = house.export_history()
    found = numbering_faults(export.read_text().splitlines()[1:])
    try:
        house.verify_history(export)
    except AssertionError as failed:
        found.append(f"the history does not verify: {str(failed)[:500]}")
    heads = heads_of(export.read_text().splitlines()[1:])
    if (stored := heads.get(f"relay:{house.relay_id}", 0)) < (head := sightings.relay_head(house)):
        found.append(f"the relay has written {head} records, the console has {stored}")
    for device in _on(house):
        stored = heads.get(f"device:{device.id}", 0)
        if kept_back := [verb for n, verb, _ in sightings.journal(device) if n > stored and verb not in UNSENT]:
            found.append(f"{device.name} has written {kept_back}, the console has {stored} records")
        if other := _otherwise(device, export.read_text().splitlines()[1:]):
            found.append(f"{device.name} holds other records {other} than the console")
    return found


def _otherwise(device: Device, lines: list[str]) -> list[int]:
    """Name the records of which the device holds another than the console: its history would be two."""
    payloads = {place_of(line): payload_of(line) for line in lines}
    author = f"device:{device.id}"
    return [n for n, _, held in sightings.journal(device) if payloads.get((author, n), held) != held]


def numbering_faults(lines: list[str]) -> list[str]:
    """Count an export's records: each author's numbers go up by one, from 1, within an epoch or over it."""
    numbers: dict[str, list[int]] = {}
    for author, n in map(place_of, lines):
        numbers.setdefault(author, []).append(n)
    return [fault for author, found in numbers.items() for fault in _gaps(author, found)]


def _gaps(author: str, found: list[int]) -> Iterator[str]:
    doubled = [n for n, count in Counter(found).items() if count > 1]
    if doubled:
        yield f"{author}: doubled {doubled}"
    if found != sorted(found):
        yield f"{author}: out of order"
    if missing := sorted(set(range(1, max(found) + 1)) - set(found)):
        yield f"{author}: lost {missing}"


def heads_of(lines: list[str]) -> dict[str, int]:
    """Give the highest number of each author."""
    heads: dict[str, int] = {}
    for author, n in map(place_of, lines):
        heads[author] = max(n, heads.get(author, 0))
    return heads


def place_of(line: str) -> tuple[str, int]:
    """Read author and number of an export's line."""
    payload = json.loads(payload_of(line))
    return str(payload["author"]), int(payload["n"])


def payload_of(line: str) -> bytes:
    return base64.b64decode(json.loads(line)["payload"])


MOST_KIB: Final = 12 * 1024
"""An agent takes up to 8 MiB with its first order (docs/performance.md), and allocators breathe; a leak is looked for over many."""
MOST_DESCRIPTORS: Final = 4
"""Pools of connections to the database."""


def growth(before: Mapping[str, Weight], after: Mapping[str, Weight], most_kib: int = MOST_KIB) -> list[str]:
    """Memory, threads and descriptors are back to where they were, for whoever is the same process still."""
    found = []
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if was.pid != now.pid:
            continue
        for what, more, most in (
            ("KiB", now.memory_kib - was.memory_kib, most_kib),
            ("threads", now.threads - was.threads, 1),
            ("descriptors", now.descriptors - was.descriptors, MOST_DESCRIPTORS),
        ):
            if more > most:
                found.append(f"{name}: {more} {what} more than before")
    return found


INVARIANTS: Final[Mapping[str, Callable[[House], list[str]]]] = {
    "no listener without a live grant": stray_listeners,
    "no process without a session": stray_processes,
    "all three agree, or the console says who does not": disagreements,
    "no record lost, doubled or reordered; the history verifies": history_faults,
}


def broken(house: House) -> list[str]:
    """Say what does not hold at this moment."""
    return [f"{name}: {fault}" for name, check in INVARIANTS.items() for fault in check(house)]


def all_hold(house: House, within_s: float = AGREE_S) -> None:
    """Wait until everything holds; fails with what still does not."""
    last: list[str] = ["not looked at yet"]

    def holds() -> bool:
        last[:] = broken(house)
        return not last

    try:
        wait_until(holds, within_s, "the invariants")
    except AssertionError:
        raise AssertionError(f"after {within_s} s:\n" + "\n".join(last)) from None


def _on(house: House) -> list[Device]:
    return [device for device in house.devices.values() if device.machine.holder is not None]
