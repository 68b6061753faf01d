"""What goes wrong in the middle, between machines that are all well: proxies that tire of quiet links, NATs with another address,
a broker that is not there.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.house.house import House
from tests.house.network import Network
from tests.lab.sightings import AT_REST
from tests.parts.processes import Program
from tests.parts.waiting import wait_until

_PROXY: Final = Path(__file__).with_name("idle_proxy.py")
_PROXY_PORT: Final = 3128
_NEVER_S: Final = 432_000
_RULE: Final = (
    "add table ip proxied; add chain ip proxied in { type nat hook prerouting priority -100 ; }; "
    f'add rule ip proxied in iifname "lan" meta l4proto tcp redirect to :{_PROXY_PORT}'
)
_ANOTHER_ADDRESS: Final = """\
for end in "$@"; do
    echo 1 >/proc/sys/net/ipv4/conf/$end/promote_secondaries
    first=$(ip -4 -o address show dev $end primary | awk '{print $4}')
    ip address add "${first%.*}.3/24" dev $end 2>/dev/null || true
    ip address del "$first" dev $end
    ip address add "$first" dev $end
done"""
"""The first address goes and comes back as the second: the kernel forgets whatever was masqueraded as it (nf_nat_masquerade)."""


def let_pass(seconds: float) -> None:
    """Let a time pass that is itself what is done to the house."""
    with suppress(AssertionError):
        wait_until(lambda: False, seconds)


def behind_a_proxy(idle_s: float, lasts_s: float, *, may_cut: bool) -> Callable[[House], None]:
    """Lead the device's links through a proxy that cuts those that are idle for so long; its own keep-alives hold them, or do not."""

    def lead(house: House) -> None:
        was = house.console.door(house.device.id)["state"]
        with _proxied(house, idle_s) as proxy:
            house.console.wait_for_door(house.device.id, was, 40)
            let_pass(lasts_s)
            cuts = proxy.log_text().count("cut ")
            assert may_cut == (cuts > 0), f"{cuts} links were cut"
        assert house.device.agent is not None
        house.device.agent.kill()

    return lead


@contextmanager
def _proxied(house: House, idle_s: float) -> Iterator[Program]:
    """Have the agent dial anew, through the proxy."""
    network, agent = house.network, house.device.agent
    assert network is not None
    assert agent is not None
    command = (sys.executable, _PROXY, str(_PROXY_PORT), str(idle_s))
    proxy = network.programs.start(*_in_router(network), *command, name="idle-proxy")
    proxy.wait_for_log("there")
    network.weather.in_router("nft", _RULE)
    agent.kill()
    house.restore()
    try:
        yield proxy
    finally:
        network.weather.in_router("nft", "delete", "table", "ip", "proxied")
        proxy.kill()


def _in_router(network: Network) -> tuple[str, ...]:
    return ("/usr/bin/nsenter", f"--net=/proc/{network.router}/ns/net", "--")


def another_address(*, is_told: bool, lasts_s: float) -> Callable[[House], None]:
    """Give the NAT another address outside, as a provider does at night: whatever it had mapped is gone.

    Who is told is answered by the far end, which knows nothing of the new mapping; who is not sends into the void.
    """

    def move(house: House) -> None:
        assert house.network is not None
        weather = house.network.weather
        if not is_told:
            weather.forget_idle(_NEVER_S)  # which takes up no connection in its middle, either
        ends = [end for place, end in weather.ends.items() if place != "device"]
        weather.in_router("sh", "-ec", _ANOTHER_ADDRESS, "sh", *ends)
        let_pass(lasts_s)

    return move


def without_broker(lasts_s: float) -> Callable[[House], None]:
    """Have no broker for so long: open doors stay open, and those that are being shut are, through the relay."""

    def be_without(house: House) -> None:
        house.stop("broker")
        was = house.console.door(house.device.id)["state"]
        let_pass(lasts_s)
        said = house.console.door(house.device.id)
        assert was != "open" or said["state"] == "open", said
        assert was != "closing" or said["state"] in AT_REST, said

    return be_without
