"""SIGKILL of each part of a house, alone and two at once: who there is to be killed, where, and in which states there is any."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from tests.house.house import House
from tests.house.machine import Machine
from tests.lab import sightings
from tests.parts.waiting import wait_until

DOOR_STATES: Final = ("SHUT", "OPENING", "OPEN", "CLOSING")
ERRANDS: Final = ("COMMAND", "TRIAL")
"""What a device does beside its door: a command's hook runs, or settings are on trial."""
STATES: Final = (*DOOR_STATES, "RETRYING", *ERRANDS)
"""RETRYING is a door whose tunnel was lost, while the relay cannot be reached."""
COMES_S: Final = 4.0
"""A process that has yet to be started is waited for so long: a kill that meets nobody shows nothing."""
_AT_A_DOOR: Final = ("OPENING", "OPEN", "CLOSING")
_BUT_RETRYING: Final = (*DOOR_STATES, *ERRANDS)


class Victim(NamedTuple):
    """Somebody to kill.

    Attributes:
        place: ``device`` or ``relay``, where it is found by its title; empty for a part that the house itself holds.
        title: what stands in its title.
        states: in which there is one.
    """

    place: str = ""
    title: str = ""
    states: Sequence[str] = STATES


# An sshd whose environment is small has no room for all of its title: "[listener]" may be cut off.
VICTIMS: Final[Mapping[str, Victim]] = {
    "agent": Victim(),
    "runner": Victim("device", "doorward-runner", ("OPENING", "CLOSING", *ERRANDS)),
    "hook": Victim("device", "/hooks/", ERRANDS),
    "keeper": Victim("device", "keeper.sh", (*_AT_A_DOOR, "RETRYING")),
    "tunnel": Victim("device", "/usr/bin/ssh -F none", _AT_A_DOOR),
    "door": Victim("device", "[listener]", (*_AT_A_DOOR, "RETRYING")),
    "relay": Victim(),
    "relay-sshd": Victim("relay", "sshd -D ", _BUT_RETRYING),
    "relay-session": Victim("relay", f"sshd: {sightings.TUNNEL_USER}", _AT_A_DOOR),
    "worker": Victim(),
    "signer": Victim(),
    "web": Victim(states=_BUT_RETRYING),
    "broker": Victim(),
}


def states_of(*victims: str) -> list[str]:
    """Name the states in which all of these are there to be killed."""
    return [state for state in STATES if all(state in VICTIMS[one].states for one in victims)]


def pairs() -> list[tuple[str, str]]:
    """Give every two that are ever there together."""
    names = list(VICTIMS)
    both = [(one, other) for n, one in enumerate(names) for other in names[n + 1 :]]
    return [pair for pair in both if states_of(*pair)]


def killing(*victims: str) -> Callable[[House], bool]:
    """SIGKILL each of these, in this order, as soon as all are there; tells whether all were."""

    def kill(house: House) -> bool:
        found: dict[str, list[int]] = {}

        def all_there() -> bool:
            found.update({one: _pids(house, VICTIMS[one]) for one in victims if VICTIMS[one].place})
            return all(found.values())

        with suppress(AssertionError):
            wait_until(all_there, COMES_S, "the victims", closely=True)
        for one in victims:
            _kill(house, one, found.get(one, []))
        return all(found.values())

    return kill


def _pids(house: House, victim: Victim) -> list[int]:
    return [one.pid for one in sightings.processes(_machine(house, victim)) if victim.title in one.title]


def _machine(house: House, victim: Victim) -> Machine:
    return house.device.machine if victim.place == "device" else house.relay_machine


def _kill(house: House, victim: str, pids: Sequence[int]) -> None:
    if not VICTIMS[victim].place:
        kill_part(house, victim)
    elif pids:  # whoever has ended meanwhile is no fault
        _machine(house, VICTIMS[victim]).run("/bin/kill", "-KILL", *map(str, pids))


def kill_part(house: House, part: str) -> None:
    """Kill the agent, or a part of the house by its name."""
    if part != "agent":
        house.stop(part)
        return
    assert house.device.agent is not None
    house.device.agent.kill()
