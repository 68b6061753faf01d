"""An order that comes while the door is being shut for the session before it."""

from doorward_agent import effects as do
from doorward_agent import events
from doorward_agent.effects import Effect
from doorward_agent.events import DoorEvent
from doorward_agent.machine import DoorMachine
from doorward_agent.states import DoorState

from tests.agent.test_machine import MINE, NOW_MS, OTHER, machine_in, ordered


def shut(machine: DoorMachine) -> list[Effect]:
    """Let both halves end, and give what the machine then does."""
    ended: list[DoorEvent] = [events.DoorClosed(MINE), events.TunnelEnded(1)]
    return [effect for event in ended for effect in machine.step(event, NOW_MS, 0.5)]


def test_order_when_the_last_door_is_still_closing_then_it_is_obeyed_as_soon_as_that_is_shut() -> None:
    """Whoever turns on right after an OFF does not wait for the next ask: the order is kept and begun."""
    machine = machine_in(DoorState.CLOSING)
    assert machine.step(ordered(OTHER), NOW_MS, 0.5) == ()
    effects = shut(machine)
    assert machine.state is DoorState.OPENING
    assert machine.session is not None
    assert machine.session.id == OTHER
    assert any(isinstance(effect, do.OpenDoor) for effect in effects)


def test_order_when_another_takes_over_an_open_door_then_it_is_begun_after_the_first_is_shut() -> None:
    """An order for another session shuts the one at hand and opens its own, without being asked again."""
    machine = machine_in(DoorState.OPEN)
    machine.step(ordered(OTHER), NOW_MS, 0.5)
    assert machine.state is DoorState.CLOSING
    shut(machine)
    assert machine.session is not None
    assert machine.session.id == OTHER


def test_order_when_turned_off_while_it_waits_then_it_is_never_begun() -> None:
    """Shut wins also over an order that waits: neither its own OFF nor a general one leaves it waiting."""
    for off in (events.OrderedShut(OTHER), events.OrderedShut(None)):
        machine = machine_in(DoorState.CLOSING)
        machine.step(ordered(OTHER), NOW_MS, 0.5)
        machine.step(off, NOW_MS, 0.5)
        shut(machine)
        assert machine.state is DoorState.SHUT
