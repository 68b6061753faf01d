"""Weather between the places of a network: loss, black holes, cuts, and what the device's line adds in delay.

Where a packet is routed it can be dropped (nftables); where it has to wait, a program of ours carries it (``line``), for not
every kernel has netem. What is done lasts until ``restore``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.parts.processes import Program

Direction = Literal["both", "to", "from"]
"""Seen from the place: packets on their way to it, from it, or both."""

_FIVE_DAYS_S: Final = 432_000
"""The kernel's own default."""
_CHANGE_ADDRESS: Final = """\
for end in "$@"; do
    echo 1 >/proc/sys/net/ipv4/conf/$end/promote_secondaries
    first=$(ip -4 -o address show dev $end primary | awk '{print $4}')
    ip address add "${first%.*}.3/24" dev $end 2>/dev/null || true
    ip address del "$first" dev $end
    ip address add "$first" dev $end
done"""
"""The first address goes and comes back as the second: the kernel forgets whatever was masqueraded as it (nf_nat_masquerade)."""
_CHAIN: Final = ("inet", "weather", "passing")


@dataclass(slots=True)
class Weather:
    """What can be done to the links.

    Attributes:
        in_router: runs a program in the network of the router.
        ends: by place, the router's end of the wire to it.
        carry: starts the program that carries the device's packets late, by so many milliseconds; None where the device's
            wire has no line.
    """

    in_router: Callable[..., None]
    ends: Mapping[str, str]
    carry: Callable[[int], Program] | None = None
    hang_up: Callable[[], None] | None = None
    _carrier: Program | None = field(default=None)

    def loss(self, place: str, percent: int) -> None:
        """Let so many of a hundred packets to and from a place vanish, 1 to 99."""
        self._rule(place, "both", "numgen", "random", "mod", "100", "<", str(percent), "drop")

    def black_hole(self, place: str, direction: Direction = "both") -> None:
        """Let every packet vanish, while both ends keep their connections and neither is told."""
        self._rule(place, direction, "drop")

    def cut(self, place: str) -> None:
        """Unplug a place: whoever sends is told at once that there is no way."""
        self._rule(place, "both", "reject", "with", "icmpx", "type", "host-unreachable")

    def black_hole_connection(self, device_port: int) -> None:
        """Let every packet of one of the device's TCP connections vanish: both ends keep it, and neither is told."""
        for end in ("sport", "dport"):
            self.in_router("nft", "add", "rule", *_CHAIN, "tcp", end, str(device_port), "drop")

    def forget_idle(self, after_s: int) -> None:
        """Let the NAT forget connections over which nothing came for so long, as home routers and proxies do; conntrack(8)."""
        self._remember(after_s, picks_up=0)

    def change_address(self, *, is_told: bool) -> None:
        """Give the NAT another address outside, as a provider does at night: whatever it had mapped is gone.

        Who is told is answered by the far end, which knows nothing of the new mapping; who is not sends into the void.
        """
        self._remember(_FIVE_DAYS_S, picks_up=int(is_told))
        ends = [end for place, end in self.ends.items() if place != "device"]
        self.in_router("sh", "-ec", _CHANGE_ADDRESS, "sh", *ends)

    def _remember(self, idle_s: int, picks_up: int) -> None:
        settings = {"timeout_established": idle_s, "loose": picks_up}
        lines = [f"echo {value} > /proc/sys/net/netfilter/nf_conntrack_tcp_{name}" for name, value in settings.items()]
        self.in_router("sh", "-ec", "; ".join(lines))

    def delay(self, milliseconds: int) -> None:
        """Let every packet of the device wait so long on its way, in each direction; 0 ends it."""
        if self.carry is None or self.hang_up is None:
            raise RuntimeError("this network has no line to the device: lay it with apart=True")
        if self._carrier is not None:
            self._carrier.kill()
            self._carrier = None
            self.hang_up()
        if milliseconds:
            self._carrier = self.carry(milliseconds)

    def restore(self) -> None:
        """Let packets through again, and at once."""
        self.in_router("nft", "flush", "chain", *_CHAIN)
        self._remember(_FIVE_DAYS_S, picks_up=1)
        if self._carrier is not None:
            self.delay(0)

    def _rule(self, place: str, direction: Direction, *verdict: str) -> None:
        if direction in {"both", "to"}:
            self.in_router("nft", "add", "rule", *_CHAIN, "oifname", self.ends[place], *verdict)
        if direction in {"both", "from"}:
            self.in_router("nft", "add", "rule", *_CHAIN, "iifname", self.ends[place], *verdict)
