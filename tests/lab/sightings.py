"""What each side of a house says and what its kernel shows, gathered afresh and believed of nobody but itself."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.house.house import AGENT_USER, Device, House
from tests.house.machine import PROGRAMS, Machine

TUNNEL_USER: Final = "doorward-tunnel"
AT_REST: Final = ("shut", "failed")


@dataclass(frozen=True, slots=True)
class Running:
    """A process on a machine."""

    pid: int
    user: str
    title: str


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket on a machine."""

    address: str
    port: int
    uid: int


@dataclass(frozen=True, slots=True)
class Words:
    """What console, relay and device say of one device's door.

    Attributes:
        door: the console's answer.
        device: ``doorward-agent status``, with ``running``; empty where the machine is off.
        granted: ports by live session of this device, as the relay says.
    """

    door: dict[str, Any]
    device: dict[str, Any]
    granted: dict[str, list[int]]
    tunnels: dict[str, str | None] = field(default_factory=dict)

    @property
    def is_at_rest(self) -> bool:
        return self.door["state"] in AT_REST


def processes(machine: Machine) -> list[Running]:
    """List a machine's processes but the one that lists them."""
    said = machine.must("/bin/ps", "-eww", "-o", "pid=,user:32=,args=").splitlines()
    found = [Running(int(words[0]), words[1], words[2]) for line in said if len(words := line.split(None, 2)) == 3]
    return [one for one in found if not one.title.startswith("/bin/ps -eww")]


def listeners(machine: Machine) -> list[Listening]:
    """List the TCP sockets that listen in the machine's network, with the user who opened them; ss(8)."""
    return [_listening(line) for line in machine.must("/bin/ss", "-Hltne").splitlines() if line]


def _listening(line: str) -> Listening:
    words = line.split()
    address, _, port = words[3].rpartition(":")
    uid = next((int(word[4:]) for word in words if word.startswith("uid:")), 0)
    return Listening(address, int(port), uid)


def dialled_from(machine: Machine) -> list[int]:
    """List the machine's own TCP ports of the connections that stand in its network; ss(8)."""
    lines = machine.must("/bin/ss", "-Htn", "state", "established").splitlines()
    return [int(line.split()[2].rpartition(":")[2]) for line in lines]


def uid_of(machine: Machine, user: str) -> int:
    accounts = (line.split(":") for line in (machine.folder / "etc/passwd").read_text().splitlines())
    return next(int(account[2]) for account in accounts if account[0] == user)


def relay_status(house: House) -> dict[str, Any]:
    """Give what ``doorward-relay status`` says; its exit status says only whether all is well."""
    said = json.loads(house.relay_machine.run(PROGRAMS / "doorward-relay", "status", "--json").stdout)
    assert isinstance(said, dict)
    return said


def device_status(device: Device) -> dict[str, Any]:
    """Give what ``doorward-agent status`` says, or nothing where the machine is off."""
    if device.machine.holder is None:
        return {}
    said = json.loads(device.machine.must(PROGRAMS / "doorward-agent", "status", "--json", user=AGENT_USER))
    assert isinstance(said, dict)
    return said


def words_of(house: House, device: Device) -> Words:
    """Ask all three about one door."""
    live = [one for one in relay_status(house)["live"] if one["device"] == device.id]
    granted = {one["session"]: one["ports"] for one in live}
    tunnels = {one["session"]: one["tunnel"] for one in live}
    return Words(house.console.door(device.id), device_status(device), granted, tunnels)


def journal(device: Device) -> list[tuple[int, str, bytes]]:
    """Read number, verb and payload of each record from the device's disk."""
    segments = sorted(device.machine.inside("/var/lib/doorward/journal").glob("*.jsonl"))
    payloads = [line for one in segments for line in one.read_bytes().splitlines() if line.endswith(b"}")]
    read = [json.loads(payload) for payload in payloads]
    return [(one["n"], one["verb"], payload) for one, payload in zip(read, payloads, strict=True)]


_HEAD: Final = """
import sqlite3, sys
store = sqlite3.connect("file:/var/lib/doorward-relay/relay.db?mode=ro", uri=True)
print(store.execute("SELECT max(n) FROM record WHERE author = ?", sys.argv[1:]).fetchone()[0] or 0)
"""


def relay_head(house: House) -> int:
    """Give the number of the relay's last record, from its own database."""
    return int(house.relay_machine.must(PROGRAMS / "python3", "-c", _HEAD, f"relay:{house.relay_id}"))


@dataclass(frozen=True, slots=True)
class Weight:
    """What a process holds: memory of its own, threads, descriptors.

    What it maps of files is left out: its part of those is larger when others end that map them, too.
    """

    pid: int
    memory_kib: int
    threads: int
    descriptors: int


def weight_of(pid: int) -> Weight:
    """Weigh a process; proc(5)."""
    folder = Path(f"/proc/{pid}")
    memory = next(line for line in (folder / "smaps_rollup").read_text().splitlines() if line.startswith("Pss_Anon:"))
    return Weight(
        pid, int(memory.split()[1]), len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))
    )


def weigh(house: House) -> dict[str, Weight]:
    """Weigh every process of ours that lives on between sessions."""
    return {name: weight_of(pid) for name, pid in _residents(house)}


def _residents(house: House) -> Iterator[tuple[str, int]]:
    for name in ("worker", "signer", "web", "relay"):
        if name in house.parts and house.parts[name].is_running:
            yield name, house.parts[name].pid
    for device in house.devices.values():
        if device.agent is not None and device.agent.is_running:
            yield device.name, device.agent.pid
