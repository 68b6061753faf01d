"""A small internet of namespaces: outside (relay, broker, console, engineer), a router with NAT, and the device behind it.

Packets are really routed, masqueraded and dropped. The namespaces hang on holder processes, so nothing of them outlives
the test, not even one that was killed.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from tests.parts.processes import Programs, run

T = TypeVar("T")

OUTSIDE: Final = "198.18.0.1"
"""RFC 2544: addresses for tests, which no network uses."""
_ROUTER_OUTSIDE: Final = "198.18.0.2"
_ROUTER_INSIDE: Final = "192.168.77.1"
DEVICE: Final = "192.168.77.2"
_CLONE_NEWNET: Final = 0x40000000
_CALLERS: Final = 4
"""Several, so that two people can really press at once."""

_NAT: Final = """
table ip nat {
  chain out {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade
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
    """Three namespaces and the wires between them."""

    programs: Programs
    outside: int = field(default=0)
    router: int = field(default=0)
    device: int = field(default=0)
    _caller: ThreadPoolExecutor | None = field(default=None)

    def lay(self) -> None:
        """Make the namespaces, wires, routes and the NAT."""
        self.outside, self.router, self.device = (self._namespace(name) for name in ("outside", "router", "device"))
        self._wire(self.outside, "eth0", OUTSIDE, self.router, "wan", _ROUTER_OUTSIDE)
        self._wire(self.device, "eth0", DEVICE, self.router, "lan", _ROUTER_INSIDE)
        self._in(self.device, "ip", "route", "add", "default", "via", _ROUTER_INSIDE)
        self._in(self.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._in(self.router, "nft", "-f", "-", stdin=_NAT.encode())
        self._caller = ThreadPoolExecutor(_CALLERS, "outside", initializer=_enter, initargs=(self.outside,))

    def call(self, what: Callable[[], T]) -> T:
        """Do ``what`` with the outside's network."""
        assert self._caller is not None
        return self._caller.submit(what).result(120)

    def close(self) -> None:
        """Let the threads in the outside's network go."""
        if self._caller is not None:
            self._caller.shutdown()

    def black_hole(self) -> None:
        """Let every packet between device and outside vanish, while both keep their connections."""
        self._in(self.router, "nft", "add", "rule", "inet", "weather", "passing", "drop")

    def lose(self, percent: int) -> None:
        """Let so many packets of a hundred vanish, each way and by chance."""
        chance = ("numgen", "random", "mod", "100", "<", str(percent))
        self._in(self.router, "nft", "add", "rule", "inet", "weather", "passing", *chance, "drop")

    def restore(self) -> None:
        """Let packets through again."""
        self._in(self.router, "nft", "flush", "chain", "inet", "weather", "passing")

    def black_hole_connection(self, device_port: int) -> None:
        """Let every packet of one of the device's TCP connections vanish: both ends keep it, and neither is told."""
        for end in ("sport", "dport"):
            self._in(
                self.router, "nft", "add", "rule", "inet", "weather", "passing", "tcp", end, str(device_port), "drop"
            )

    def _namespace(self, name: str) -> int:
        holder = self.programs.start("/usr/bin/unshare", "--net", "/bin/sleep", "3600", name=f"net-{name}")
        ours = Path("/proc/self/ns/net").readlink()
        holder.wait_for(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != ours, 10, "a namespace")
        self._in(holder.pid, "ip", "link", "set", "lo", "up")
        return holder.pid

    def _wire(self, one: int, one_end: str, one_address: str, other: int, other_end: str, other_address: str) -> None:
        self._in(one, "ip", "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", str(other))
        for pid, end, address in ((one, one_end, one_address), (other, other_end, other_address)):
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
