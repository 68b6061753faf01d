"""A relay of either kind with thousands of grants, and the devices that hold them, for ``bench/relay.py``.

Everything stands in a network of its own (a namespace with nothing but a loopback), so that packets can really vanish and
any TCP port is free.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh
from doorward_protocol.grants import Grant
from doorward_relay.edges import kernel
from doorward_relay.view import ESTABLISHED

from bench.memory import pss_mib
from bench.report import say
from tests.house.machine import CHECKOUT
from tests.parts.files import write_whole
from tests.parts.processes import Programs
from tests.relay.relaying import EMBEDDED, Console, Relay, install_relay

PROCESSES: Final = 2
"""Of devices: as many as the machine has cores; each holds fewer descriptors than it may."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def peer_ports(ssh_port: int) -> set[int]:
    """Name the other ends' ports of a relay's connections with devices."""
    return {one.remote_port for one in kernel.sockets() if one.state == ESTABLISHED and one.local_port == ssh_port}


@dataclass(slots=True)
class Standing:
    """One relay, and the grants and devices on it."""

    relay: Relay
    console: Console
    granted: list[Grant]
    fleets: list["subprocess.Popen[str]"] = field(default_factory=list)
    up: int = 0

    def start_devices(self) -> None:
        """Start the processes that will dial; nothing is dialled yet."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        public, private = key.export_public_key().decode(), key.export_private_key().decode()
        devices = [
            {"port": one.forwards[0].port, "banner": one.banner,
             "certificate": self.console.tunnel_ca.certify(public, [one.session])}
            for one in self.granted
        ]  # fmt: skip
        relay, hosts = ["127.0.0.1", self.relay.ssh_port], self.relay.known_hosts()
        for n in range(PROCESSES):
            plan = self.relay.folder / f"devices-{n}.json"
            share = {"key": private, "relay": relay, "known_hosts": hosts, "devices": devices[n::PROCESSES]}
            write_whole(plan, json.dumps(share))
            self.fleets.append(
                subprocess.Popen(
                    [sys.executable, "-m", "bench.relay_clients", plan], cwd=CHECKOUT, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )  # fmt: skip

    def dial(self, total: int, **how: int) -> float:
        """Dial until ``total`` are up; gives the seconds that it took."""
        began = time.monotonic()
        for n, fleet in enumerate(self.fleets):
            assert fleet.stdin is not None
            first, last = (len(range(n, upto, PROCESSES)) for upto in (self.up, total))
            fleet.stdin.write(json.dumps({"first": first, "last": last, **how}) + "\n")
            fleet.stdin.flush()
        for fleet in self.fleets:
            assert fleet.stdout is not None
            assert fleet.stdout.readline(), "a process of devices ended"
        self.up = total
        return time.monotonic() - began

    def pids(self) -> list[int]:
        """List the processes that carry tunnels: the embedded relay, or sshd and what it started."""
        top = self.relay.daemon if self.relay.kind == EMBEDDED else self.relay.sshd
        assert top is not None
        return [top.pid, *_below(top.pid)]

    def pss_kib(self) -> float:
        return sum(pss_mib(pid) for pid in self.pids()) * 1024

    def cpu_s(self) -> float:
        """Count the processor's time of these processes, and of theirs that have ended."""
        return sum(sum(_times(pid)) for pid in self.pids()) / _TICKS

    def close(self) -> None:
        for fleet in self.fleets:
            fleet.kill()
            fleet.wait()


def _below(top: int) -> list[int]:
    found, parents = [], {pid: int(fields[1]) for pid, fields in _all_stats()}
    for pid in parents:
        up = pid
        while (up := parents.get(up, 0)) > 1:
            if up == top:
                found.append(pid)
    return found


def _all_stats() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            yield int(entry.name), fields


def _times(pid: int) -> list[int]:
    """Read utime, stime, cutime and cstime (proc(5), stat)."""
    return [int(one) for one in _stat(pid)[11:15]]


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@contextmanager
def standing(programs: Programs, folder: Path, kind: str, first_port: int, size: int) -> Iterator[Standing]:
    """Install, start and pair a relay, and put ``size`` grants on it."""
    name = f"{kind}-{first_port}"  # of the managed kind there are two
    relay = install_relay(programs, folder / name, range(first_port, first_port + size), kind)
    relay.start()
    (folder / f"{name}-console").mkdir()
    console = Console(relay, folder / f"{name}-console")
    console.pair()
    say(f"{kind} relay: {size} grants")
    granted = [console.grant(port, lasts_s=7200) for port in relay.ports]
    with console.http(console.client) as http:
        for one in granted:
            answer = http.put(f"/v1/grants/{one.session}", json={"grant": console.envelope(one)})
            assert answer.status_code == 200, answer.text
    made = Standing(relay, console, granted)
    try:
        yield made
    finally:
        made.close()
