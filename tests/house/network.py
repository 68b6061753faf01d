"""A small internet of namespaces: relay, broker, console and engineer outside, a router with NAT, and the device behind it.

Packets are really routed, masqueraded and dropped (``weather``). Outside is one place with one address, or, ``apart``, one
for each. The namespaces hang on holder processes, so nothing of them outlives the test, not even one that was killed.
"""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from tests.house.weather import Weather
from tests.parts.processes import Program, Programs, run

T = TypeVar("T")

OUTSIDE: Final = "198.18.0.1"
"""RFC 2544: addresses for tests, which no network uses."""
ROLES: Final = ("relay", "second-relay", "broker", "console", "engineer")
"""Who stands outside; an interface's name has at most 15 bytes."""
_ROUTER_INSIDE: Final = "192.168.77.1"
DEVICE: Final = "192.168.77.2"
_CLONE_NEWNET: Final = 0x40000000
_CALLERS: Final = 4
"""Several, so that two people can really press at once."""
_LINE: Final = Path(__file__).with_name("line.py")

_NAT: Final = """
table ip nat {
  chain out {
    type nat hook postrouting priority 100;
    ip saddr 192.168.77.0/24 masquerade
  }
}
table inet weather {
  chain passing {
    type filter hook forward priority 0;
  }
}
"""


@dataclass(slots=True)
class Network:
    """Namespaces and the wires between them; ``apart`` gives each of ``ROLES`` one of its own, and the device a line."""

    programs: Programs
    apart: bool = False
    router: int = field(default=0)
    device: int = field(default=0)
    weather: Weather = field(init=False)
    _places: dict[str, tuple[int, str]] = field(default_factory=dict)
    _caller: ThreadPoolExecutor | None = field(default=None)

    def lay(self) -> None:
        """Make the namespaces, wires, routes and the NAT."""
        self.router, self.device = self._namespace("router"), self._namespace("device")
        ends = {"device": "lan"}
        for number, name in enumerate(ROLES if self.apart else ("outside",)):
            ends[name] = f"to-{name}"[:15]
            self._places[name] = self._place(name, number, ends[name])
        line = self._lay_device()
        self._in(self.device, "ip", "route", "add", "default", "via", _ROUTER_INSIDE)
        self._in(self.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._in(self.router, "nft", "-f", "-", stdin=_NAT.encode())
        self.weather = Weather(lambda *argv: self._in(self.router, *argv), ends)
        if line:
            self.weather.carry = lambda milliseconds: self._carry(line, milliseconds)
            self.weather.hang_up = lambda: self._bridge(line)
        where = self.place_of("engineer")
        self._caller = ThreadPoolExecutor(_CALLERS, "outside", initializer=_enter, initargs=(where,))

    @property
    def outside(self) -> int:
        """The namespace in which an engineer stands."""
        return self.place_of("engineer")

    def place_of(self, role: str) -> int:
        """Name the process in whose network somebody of ``ROLES`` stands."""
        return self._places[role if self.apart else "outside"][0]

    def address_of(self, role: str) -> str:
        """Give the address of somebody of ``ROLES``."""
        return self._places[role if self.apart else "outside"][1]

    def call(self, what: Callable[[], T]) -> T:
        """Do ``what`` where an engineer stands."""
        assert self._caller is not None
        return self._caller.submit(what).result(120)

    def close(self) -> None:
        """Let the threads in the outside's network go."""
        if self._caller is not None:
            self._caller.shutdown()

    def _place(self, name: str, number: int, end: str) -> tuple[int, str]:
        """Make a place outside, reached through the router."""
        pid = self._namespace(name)
        address, gateway = f"198.18.{number}.1", f"198.18.{number}.2"
        self._wire(pid, "eth0", address, self.router, end, gateway)
        self._in(pid, "ip", "route", "add", "198.18.0.0/15", "via", gateway)
        return pid, address

    def _lay_device(self) -> int:
        """Wire the device to the router: directly, or through a line on which packets can be made to wait."""
        if not self.apart:
            self._wire(self.device, "eth0", DEVICE, self.router, "lan", _ROUTER_INSIDE)
            return 0
        line = self._namespace("line")
        self._in(line, "ip", "link", "add", "br0", "type", "bridge")
        self._in(line, "ip", "link", "set", "br0", "up")
        for pid, end, address, port in (
            (self.device, "eth0", DEVICE, "port0"),
            (self.router, "lan", _ROUTER_INSIDE, "port1"),
        ):
            self._wire(pid, end, address, line, port, "")
            self._in(pid, sys.executable, str(_LINE), "--whole-frames", end)
        self._bridge(line)
        return line

    def _bridge(self, line: int) -> None:
        for port in ("port0", "port1"):
            self._in(line, "ip", "link", "set", port, "master", "br0")

    def _carry(self, line: int, milliseconds: int) -> Program:
        for port in ("port0", "port1"):
            self._in(line, "ip", "link", "set", port, "nomaster")
        entered = ("/usr/bin/nsenter", f"--net=/proc/{line}/ns/net", "--")
        return self.programs.start(
            *entered, sys.executable, _LINE, "port0", "port1", str(milliseconds), name="net-carrier"
        )

    def _namespace(self, name: str) -> int:
        holder = self.programs.start("/usr/bin/unshare", "--net", "/bin/sleep", "36000", name=f"net-{name}")
        ours = Path("/proc/self/ns/net").readlink()
        holder.wait_for(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != ours, 10, "a namespace")
        self._in(holder.pid, "ip", "link", "set", "lo", "up")
        return holder.pid

    def _wire(self, one: int, one_end: str, one_address: str, other: int, other_end: str, other_address: str) -> None:
        self._in(one, "ip", "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", str(other))
        for pid, end, address in ((one, one_end, one_address), (other, other_end, other_address)):
            if address:
                self._in(pid, "ip", "address", "add", f"{address}/24", "dev", end)
            self._in(pid, "ip", "link", "set", end, "up")

    def _in(self, pid: int, *argv: str, stdin: bytes = b"") -> None:
        done = run(["/usr/bin/nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv], stdin=stdin)
        assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"


def _enter(pid: int) -> None:
    """Move the calling thread, and no other, into the network of ``pid``."""
    with Path(f"/proc/{pid}/ns/net").open() as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
