"""What is done to a house, as a table: name, what is done, where it may be done, and within how many seconds all is well again.

A fault breaks something and mends what a service manager, an electrician or the weather would mend; the cure for everything
else has to be in the mechanism. Then the door has to come to where it was wanted, and every invariant has to hold.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.house.house import House
from tests.house.machine import Inside, Machine
from tests.house.weather import Weather
from tests.lab import sightings
from tests.lab.clocks import LACKING, alone, jumped
from tests.lab.errands import BEGIN
from tests.lab.invariants import all_hold
from tests.lab.kills import DOOR_STATES, STATES, VICTIMS, kill_part, killing, pairs, states_of
from tests.lab.middle import behind_a_proxy, let_pass, tunnel_back_first, without_broker
from tests.lab.sightings import AT_REST, device_status
from tests.lab.twins import cloned, put_back
from tests.lab.wanted import has_device_obey, is_so, wait_for_door
from tests.parts.limits import none_left
from tests.parts.waiting import wait_until

OPENED: Final = ("OPENING", "OPEN", "RETRYING")
"""In these the door is wanted open; in all others shut."""
BOOTED_S: Final = 60.0
"""Within these, from its boot on, a device is back on its own port."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a house.

    Attributes:
        do: breaks it; what stays broken ``House.restore`` mends. False where there was nobody to do it to.
        within_s: after the mending, everything is as it should be.
        states: where the door may be when it happens.
        lacking: what it needs and is not here; empty when it can be done.
        may_fail: codes with which an opening may end for it, said at once; then it opens when it is asked for again.
    """

    name: str
    do: Callable[[House], bool | None]
    within_s: float = 40
    states: Sequence[str] = DOOR_STATES
    may_fail: Sequence[str] = ()
    lacking: str = ""


def bring(house: House, state: str) -> Callable[[float], None]:
    """Bring the device to a state; OPENING, CLOSING and errands are on their way when this returns.

    Gives what waits, for so many seconds at most, until an errand has ended as it should.
    """
    device = house.device
    house.console.shut_and_wait(device.id)
    if state in BEGIN:
        return BEGIN[state](house)
    if state != "SHUT":
        house.console.open_door(device.id)
    if state in {"OPEN", "CLOSING", "RETRYING"}:
        house.console.wait_for_door(device.id, "open")
    if state == "CLOSING":
        house.console.shut_door(device.id)
    if state == "RETRYING":
        lose_tunnel(house)
    return lambda _: None


def lose_tunnel(house: House) -> None:
    """Cut the relay off and kill the tunnel, and wait until the device waits to dial again."""
    assert house.network is not None
    house.network.weather.cut("relay")
    killing("tunnel")(house)
    wait_until(lambda: device_status(house.device).get("state") == "RETRYING", 20, "the device to wait")


def go_through(house: House, fault: Fault, state: str, pause: Callable[[], None] = lambda: None) -> bool:
    """Do a fault in a state, mend, and wait for everything to be well; fails with what is not. ``pause`` comes before the fault.

    Tells whether there was somebody to do it to.
    """
    is_well = bring(house, state)
    pause()
    was_done = fault.do(house)
    house.restore()
    wanted = "open" if state in OPENED else "shut"
    if wanted == "open" and (door := house.console.door(house.device.id))["state"] in AT_REST:
        assert (door["why"] or {"code": ""})["code"] in fault.may_fail, door
        house.console.open_door(house.device.id)
    wait_for_door(house, wanted, fault.within_s)
    is_well(fault.within_s)
    all_hold(house, fault.within_s)
    assert is_so(house, wanted), f"the door is not {wanted} any more: {house.console.door(house.device.id)}"
    has_device_obey(house, wanted, fault.within_s)
    all_hold(house, fault.within_s)
    return was_done is not False


def under(weather: Callable[[Weather], None], lasts_s: float) -> Callable[[House], None]:
    """Let the weather be so, for so long as something that needs no fair weather takes."""

    def have(house: House) -> None:
        assert house.network is not None
        weather(house.network.weather)
        let_pass(lasts_s)
        house.network.weather.restore()

    return have


def reboot(house: House) -> None:
    """Cut the device's power, with the relay still holding the old tunnel, and boot."""
    house.device.machine.cut_power()
    house.device.boot()


def silent_reboot(house: House) -> None:
    """Cut the power, and let every packet of what was dialled before vanish until the door is where it was wanted.

    Nobody is told that those connections are gone: else the old kernel says goodbye for them, or the new one says that it knows none.
    """
    assert house.network is not None
    wanted = "open" if house.console.door(house.device.id)["state"] in {"open", "opening"} else "shut"
    for port in sightings.dialled_from(house.device.machine):
        house.network.weather.black_hole_connection(port)
    house.device.machine.cut_power()
    house.device.boot()
    wait_for_door(house, wanted, BOOTED_S)


def used_up(victim: str) -> Callable[[House], None]:
    """Leave a process no descriptor but those it has, for three seconds, through which it lives; prlimit(1)."""

    def use_up(house: House) -> None:
        with none_left(_inside(house, victim).pid):
            let_pass(3)
        _see_alive(house, victim)

    return use_up


def _see_alive(house: House, *parts: str) -> None:
    """See that these live: ``House.restore`` would start them again, as a service manager does, and nobody would see that they had ended."""
    for part in parts:
        process = _inside(house, part)
        assert process.is_running, f"{part} has ended:\n{process.log_text()[-4_000:]}"


def _inside(house: House, victim: str) -> Inside:
    if victim != "agent":
        return house.parts[victim]
    assert house.device.agent is not None
    return house.device.agent


def full_disk(place: str, left_kib: int, lasts_s: float = 4) -> Callable[[House], None]:
    """Fill the disk on which a part keeps its state, but for so much, for some seconds, through which whoever writes there lives."""

    def fill(house: House) -> None:
        with on_a_small_disk(house, place) as (machine, folder):
            fill_disk(machine, folder)
            size_kib = Path(f"{machine.inside(folder)}/filler").stat().st_size // 1024
            machine.must("/usr/bin/truncate", f"--size={max(0, size_kib - left_kib)}K", f"{folder}/filler")
            let_pass(lasts_s)
            _see_alive(house, *_disk_of(house, place)[2])
            machine.must("/bin/rm", f"{folder}/filler")

    return fill


def fill_disk(machine: Machine, folder: str) -> None:
    """Write ``filler`` into a folder until there is no room."""
    machine.run("/bin/dd", "if=/dev/zero", f"of={folder}/filler", "bs=4k")


@contextmanager
def on_a_small_disk(house: House, place: str) -> Iterator[tuple[Machine, str]]:
    """Let a part keep its state on a disk of its own with one MiB free; it is moved there and back while the part stands still."""
    machine, folder, parts = _disk_of(house, place)
    _stop(house, parts)
    machine.must("/bin/sh", "-ec", _TO_SMALL_DISK, "sh", folder)
    house.restore()
    try:
        yield machine, folder
    finally:
        _stop(house, parts)
        machine.must("/bin/sh", "-ec", _TO_LARGE_DISK, "sh", folder)


_TO_SMALL_DISK: Final = """\
cp -a "$1" /run/kept
mount -t tmpfs -o size=$(( $(du -sk "$1" | cut -f1) + 1024 ))k tmpfs "$1"
cp -a /run/kept/. "$1"; rm -r /run/kept"""
_TO_LARGE_DISK: Final = (
    'cp -a "$1" /run/kept; umount "$1"; find "$1" -mindepth 1 -delete; cp -a /run/kept/. "$1"; rm -r /run/kept'
)


def _disk_of(house: House, place: str) -> tuple[Machine, str, tuple[str, ...]]:
    """Give the machine, the folder where a part keeps its state, and what writes there."""
    return {
        "device": (house.device.machine, "/var/lib/doorward", ("agent",)),
        "relay": (house.relay_machine, "/var/lib/doorward-relay", ("relay",)),
        "console": (house.console_machine, "/var/lib/doorward-console", ("web", "worker", "signer")),
    }[place]


def _stop(house: House, parts: Sequence[str]) -> None:
    for part in parts:
        if part == "agent" or part in house.parts:
            kill_part(house, part)


def torn_journal(house: House) -> None:
    """Kill the agent and leave the last record of its journal written by half, as a power cut does."""
    agent = house.device.agent
    assert agent is not None
    agent.kill()
    segment = max(house.device.machine.inside("/var/lib/doorward/journal").glob("*.jsonl"))
    os.truncate(segment, segment.stat().st_size - 20)


def frozen(victim: str, lasts_s: float) -> Callable[[House], None]:
    """Stop a process for some seconds, as a machine that swaps does."""

    def freeze(house: House) -> None:
        pid = _inside(house, victim).pid
        os.kill(pid, signal.SIGSTOP)
        let_pass(lasts_s)
        os.kill(pid, signal.SIGCONT)
        os.kill(_inside(house, victim).entered.pid, signal.SIGCONT)  # nsenter stops when what it waits for stops

    return freeze


_WITHOUT_RELAY: Final = ("relay.unreachable", "relay.unavailable")
"""An opening whose relay does not answer has failed at once, and says so."""
_BY_THE_CLOCK: Final = ("", "session.expired", "relay.grant-ended", "grant.past-its-end", "grant.too-long")
"""By a clock that is a day ahead the session has ended: it is shut, and opens again when it is asked for."""

FAULTS: Final[Sequence[Fault]] = (
    *(Fault(f"SIGKILL {one}", killing(one), states=states_of(one), may_fail=_WITHOUT_RELAY) for one in VICTIMS),
    *(
        Fault(f"SIGKILL {one} and {other}", killing(one, other), states=states_of(one, other), may_fail=_WITHOUT_RELAY)
        for one, other in pairs()
    ),
    Fault("tunnel lost and back while there is no broker", tunnel_back_first, states=("OPEN",)),
    Fault("power cut", reboot, BOOTED_S, STATES),
    Fault("power cut, relay not told", silent_reboot, BOOTED_S),
    Fault("half-open link to the device, 5 s", under(lambda weather: weather.black_hole("device", "to"), 5), 60),
    Fault("half-open link from the device, 5 s", under(lambda weather: weather.black_hole("device", "from"), 5), 60),
    Fault("half-open link to the device, 60 s", under(lambda weather: weather.black_hole("device", "to"), 60), 90, ("SHUT", "OPEN")),
    Fault("half-open link from the device, 60 s", under(lambda weather: weather.black_hole("device", "from"), 60), 90, ("SHUT", "OPEN")),
    Fault("black hole before the device, 60 s", under(lambda weather: weather.black_hole("device"), 60), 90, ("SHUT", "OPEN")),
    Fault("device unplugged, 5 s", under(lambda weather: weather.cut("device"), 5), 60, STATES),
    Fault("relay unplugged, 5 s", under(lambda weather: weather.cut("relay"), 5), 60, ("SHUT", "OPEN", "CLOSING")),
    Fault("broker unreachable, 60 s", under(lambda weather: weather.black_hole("broker"), 60), 90, STATES),
    Fault("NAT forgets what is idle for 40 s, for 90 s", under(lambda weather: weather.forget_idle(40), 90), 60, ("SHUT", "OPEN")),
    Fault("NAT gets another address, and says so", under(lambda weather: weather.change_address(is_told=True), 2), 60),
    Fault("NAT gets another address, and says nothing", under(lambda weather: weather.change_address(is_told=False), 60), 90,
          ("SHUT", "OPEN", "CLOSING")),
    Fault("proxy cuts what is idle for 60 s, for 90 s", behind_a_proxy(60, 90, may_cut=False), 60, ("SHUT", "OPEN")),
    Fault("proxy cuts what is idle for 8 s, for 40 s", behind_a_proxy(8, 40, may_cut=True), 60, ("SHUT", "OPEN")),
    Fault("no broker for 40 s", without_broker(40), 90),
    Fault("30 % loss for 10 s", under(lambda weather: weather.loss("device", 30), 10), 60),
    Fault("satellite: 600 ms for 10 s", under(lambda weather: weather.delay(300), 10), 60),
    *(
        Fault(f"descriptors used up: {one}", used_up(one), states=STATES, may_fail=_WITHOUT_RELAY)
        for one in ("agent", "relay", "worker", "signer", "web", "broker")
    ),
    *(
        Fault(f"disk full but for {left} KiB: {one}", full_disk(one, left), may_fail=_WITHOUT_RELAY)
        for one in ("device", "relay", "console")
        for left in (0, 4, 16, 64)
    ),
    *(
        Fault(f"frozen 5 s: {one}", frozen(one, 5), states=STATES, may_fail=_WITHOUT_RELAY)
        for one in ("agent", "relay", "worker", "signer", "web", "broker")
    ),
    *(Fault(f"frozen 60 s: {one}", frozen(one, 60), 90, ("OPEN", "CLOSING"), _WITHOUT_RELAY) for one in ("agent", "relay", "worker", "signer", "broker")),
    Fault("journal torn in its last record", torn_journal),
    *(
        Fault(f"clock {days:+d} d for 8 s: {one}", jumped(one, days), 60, ("SHUT", "OPEN"), _BY_THE_CLOCK, LACKING)
        for one, days in (("device", 1), *((place, days) for place in ("relay", "console", "broker") for days in (1, -1)))
    ),
    Fault("broker away for an hour", alone(1), 90, ("SHUT",)),
    Fault("broker away for a day", alone(24), 90, ("SHUT",)),
    Fault("disk put back from a backup", put_back, 60, ("SHUT", "OPEN")),
    Fault("disk copied into a second machine", cloned, 130, ("SHUT", "OPEN")),
)  # fmt: skip


def named(name: str) -> Fault:
    """Find a fault by its name."""
    return next(fault for fault in FAULTS if fault.name == name)
