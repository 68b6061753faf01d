"""``make lab``: opens a lab, says what is where, takes verbs until Ctrl-C, and leaves nothing behind."""

import os
import sys
from collections.abc import Callable, Mapping

from tests.house.house import OWNER, PASSWORD, House
from tests.house.network import DEVICE, ROLES
from tests.house.weather import Weather
from tests.lab.building import a_lab, lacking
from tests.lab.invariants import broken

HELP = """\
  loss PLACE PERCENT            let packets to and from a place vanish, so many of a hundred
  black-hole PLACE [to|from]    let all of them vanish; connections stay, nobody is told
  cut PLACE                     unplug a place: whoever sends is told
  delay MILLISECONDS            let the device's packets wait so long, each way
  restore                       fair weather, and every part of the house running again
  kill PART                     broker, signer, worker, web, relay, agent: SIGKILL
  check                         what does not hold now, of what always has to hold
  help                          this"""


def main() -> int:
    """Run the lab; 69 (EX_UNAVAILABLE) where it cannot be built."""
    if reasons := lacking():
        print("make lab cannot run here: " + "; ".join(reasons), file=sys.stderr)
        return os.EX_UNAVAILABLE
    print("building: device, NAT, two relays, broker, console, engineer", flush=True)
    try:
        with a_lab(second_relay=True) as house:
            print(map_of(house), HELP, sep="\n\n", flush=True)
            for line in sys.stdin:
                print(obey(house, line.split()) or "done", flush=True)
    except KeyboardInterrupt:
        print("\ntaken down")
    return 0


def map_of(house: House) -> str:
    """Say what is where, and how to get in."""
    network, device = house.network, house.device
    assert network is not None
    places = {role: (network.place_of(role), network.address_of(role)) for role in ROLES}
    places |= {"device": (network.device, DEVICE), "NAT": (network.router, "")}
    lines = [f"  {name:13} {address:13} nsenter --net=/proc/{pid}/ns/net" for name, (pid, address) in places.items()]
    options = " ".join(["-i", str(house.key), "-o", "IdentitiesOnly=yes"])
    return "\n".join(
        [
            "place         address       to stand in its network, as root",
            *lines,
            f"  console       {house.console.address}  {OWNER} / {PASSWORD}",
            f"  device        {device.id} ({device.name}), machine: nsenter --target={device.machine.init_pid} --mount --pid --net",
            f"  engineer      ssh {options} -p {house.ports.door} remote-admin@{house.address}",
            f"  logs          {house.folder}/*.log",
        ]
    )


def obey(house: House, words: list[str]) -> str:
    """Carry out one line; gives what there is to say."""
    network = house.network
    assert network is not None
    verb, arguments = (words[0], words[1:]) if words else ("", [])
    try:
        if verb == "kill":
            return _kill(house, *arguments)
        return _VERBS[verb](house, network.weather, *arguments) or ""
    except (KeyError, TypeError, ValueError):
        return HELP
    except AssertionError as failed:
        return str(failed)


def _kill(house: House, part: str) -> str:
    if part == "agent":
        assert house.device.agent is not None
        house.device.agent.kill()
    else:
        house.stop(part)
    return f"{part} is dead; restore starts it again"


def _check(house: House, _: Weather) -> str:
    return "\n".join(broken(house)) or "everything holds"


_VERBS: Mapping[str, Callable[..., str | None]] = {
    "loss": lambda _, weather, place, percent: weather.loss(place, int(percent)),
    "black-hole": lambda _, weather, place, *way: weather.black_hole(place, *way),
    "cut": lambda _, weather, place: weather.cut(place),
    "delay": lambda _, weather, milliseconds: weather.delay(int(milliseconds)),
    "restore": lambda house, _: house.restore(),
    "check": _check,
    "help": lambda _house, _weather: HELP,
}


if __name__ == "__main__":
    sys.exit(main())
