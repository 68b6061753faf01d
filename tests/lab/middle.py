"""What goes wrong in the middle, between machines that are all well: proxies that tire of quiet links, a broker that is not there."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.house.house import House
from tests.house.network import Network
from tests.lab.kills import killing
from tests.lab.sightings import AT_REST
from tests.parts.processes import Program
from tests.parts.waiting import wait_until

_PROXY: Final = Path(__file__).with_name("idle_proxy.py")
_PROXY_PORT: Final = 3128
_RULE: Final = (
    "add table ip proxied; add chain ip proxied in { type nat hook prerouting priority -100 ; }; "
    f'add rule ip proxied in iifname "lan" meta l4proto tcp redirect to :{_PROXY_PORT}'
)


def let_pass(seconds: float) -> None:
    """Let a time pass that is itself what is done to the house."""
    with suppress(AssertionError):
        wait_until(lambda: False, seconds)


def behind_a_proxy(idle_s: float, lasts_s: float, *, may_cut: bool) -> Callable[[House], None]:
    """Lead the device's links through a proxy that cuts those that are idle for so long; its own keep-alives hold them, or they come back.

    Those that stand at the end are cut with the proxy, and come back without it.
    """

    def lead(house: House) -> None:
        was = house.console.door(house.device.id)["state"]
        with _proxied(house, idle_s) as proxy:
            house.console.wait_for_door(house.device.id, was, 40)
            let_pass(lasts_s)
            cuts = Counter(line.split()[1] for line in proxy.log_text().splitlines() if line.startswith("cut "))
            came_back = {link for link, times in cuts.items() if times > 1}  # or it could not have been cut again
            assert _quiet_link(house, was) in came_back if may_cut else not cuts, f"links were cut: {cuts}"

    return lead


def _quiet_link(house: House, door: str) -> str:
    """Name the far end of the device's link that has nothing to say, as the proxy does: whatever the tunnel's does, the broker's tells."""
    is_open = door == "open"
    place, port = ("relay", house.ports.relay_ssh) if is_open else ("broker", house.ports.broker)
    return f"{house.address_of(place)}:{port}"


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


def tunnel_back_first(house: House) -> None:
    """Kill tunnel and broker, and leave it so until the console knows that the door answers again: the device's word of the loss comes late."""

    def last_opened() -> list[str]:
        return [line["at"] for line in house.console.lines("session.opened", house.device.id)[:1]]

    before = last_opened()
    killing("tunnel", "broker")(house)
    wait_until(lambda: last_opened() != before, 40, "the door to answer again")
