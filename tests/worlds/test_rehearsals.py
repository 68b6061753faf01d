"""Rehearsals in a world: asked for by console or device, beside a live door, told once, and interrupted by nothing but an end."""

from typing import Any

import pytest
from doorward_agent import events
from doorward_protocol.commands import AGENT_VERBS, RunCommand
from doorward_protocol.ids import SessionId, id_from_bytes
from doorward_protocol.rehearsal import Rehearsal, Step, arguments_from_rehearsal

from tests.worlds.device import MINUTE_MS, World

pytestmark = pytest.mark.feature("B10")
WELL = tuple(Step(name, 10) for name in ("resolve", "connect", "host-key", "log-in", "refusal"))


@pytest.fixture
def world() -> World:
    """A device that is connected and has told all."""
    return World()


def rehearsal(world: World, number: int = 1, **changes: Any) -> RunCommand:
    session = SessionId(id_from_bytes("s", (900 + number).to_bytes(10, "big")))
    asked = arguments_from_rehearsal(Rehearsal(session, 65_000, world.body().relays[:1]))
    return world.command(number, "rehearse", arguments={**asked, **changes})


def test_rehearsal_when_it_is_ordered_then_the_agent_does_it_and_tells_once(world: World) -> None:
    """The runner is not asked; each step is shown at the device, the end is a record."""
    world.deliver(world.order(rehearsal(world)))
    (asked,) = world.rehearser.asked
    assert isinstance(asked[1], Rehearsal)
    assert asked == (world.command().command, Rehearsal(asked[1].session, 65_000, world.body().relays[:1]))
    assert "command" not in world.runner.calls
    world.rehearser.tell(*WELL[:2], is_over=False)
    world.settle()
    assert world.facts("command.done") == []
    assert not world.store.passing["rehearsal"]["is_over"]
    world.rehearser.tell(*WELL)
    world.settle()
    (done,) = world.facts("command.done")
    assert (done["verb"], done["code"], done["result"]["opens_in_ms"]) == ("rehearse", None, 150)
    assert world.store.passing["rehearsal"]["is_over"]
    world.deliver(world.order(rehearsal(world), revision=world.revision))
    assert len(world.rehearser.asked) == len(world.facts("command.done")) == 1


def test_rehearsal_when_a_door_is_open_then_nothing_of_it_changes(world: World) -> None:
    """Also where it fails: the live tunnel is another one."""
    world.deliver(world.order(world.body(), revision=1))
    dialled = list(world.tunnel.dialled)
    world.deliver(world.order(rehearsal(world), revision=1))
    world.rehearser.tell(*WELL[:3], Step("log-in", 8, "tunnel.not-admitted"))
    world.settle()
    assert world.facts("command.done")[0]["code"] == "tunnel.not-admitted"
    assert (world.state, world.tunnel.is_up, world.tunnel.dialled) == ("OPEN", True, dialled)


def test_rehearsal_when_the_agent_dies_in_the_middle_then_the_next_one_says_so(world: World) -> None:
    """It is not done a second time, and the console is not left waiting."""
    world.deliver(world.order(rehearsal(world)))
    world.crash()
    world.start()
    (done,) = world.facts("command.done")
    assert done["code"] == "command.interrupted"
    assert len(world.rehearser.asked) == 1


@pytest.mark.parametrize(
    "changes", [{"relays": []}, {"port": 0}, {"session": "c-aaaaaaaaaaaaaaaa"}, {"relays": [{"host": "x"}]}]
)
def test_rehearsal_when_it_cannot_be_read_then_that_is_how_it_went(world: World, changes: dict[str, Any]) -> None:
    """Nothing is dialled by half an order."""
    world.deliver(world.order(rehearsal(world, **changes)))
    assert [one["code"] for one in world.facts("command.done")] == ["rehearsal.malformed"]
    assert world.rehearser.asked == []


def test_rehearsal_when_a_host_key_brings_a_second_line_then_it_is_not_read(world: World) -> None:
    """What stands in an order goes into files that ssh reads."""
    route = world.body().relays[0]._replace(host_keys=("ssh-ed25519 AAAA\n* ssh-ed25519 BBBB",))._asdict()
    world.deliver(world.order(rehearsal(world, relays=[route])))
    assert [one["code"] for one in world.facts("command.done")] == ["rehearsal.malformed"]


def test_rehearsal_when_a_late_word_of_an_earlier_command_comes_then_it_goes_on(world: World) -> None:
    """The runner's word is about hooks alone."""
    world.deliver(world.order(rehearsal(world)))
    world.came.append(events.CommandTold("c-older"))
    world.settle()
    assert world.facts("command.done") == []
    world.rehearser.tell(*WELL)
    world.settle()
    assert [one["code"] for one in world.facts("command.done")] == [None]


def test_wish_when_somebody_has_one_then_the_asks_carry_it_until_it_is_granted(world: World) -> None:
    """An agent without a console does not wish for ever."""
    wishes = []
    for is_granted in (True, False):
        world.came.append(events.RehearsalWished())
        world.settle()
        wishes.append(world.asks[-1].wish)
        if is_granted:
            world.deliver(world.order(rehearsal(world)))
        else:
            world.move(MINUTE_MS)
        wishes.append(world.asks[-1].wish)
    assert wishes == ["rehearse", None, "rehearse", None]


def test_wish_when_the_console_did_not_grant_it_at_once_then_it_is_told_again(world: World) -> None:
    """It grants none within seconds of the last, and one ask may be lost; whoever waits at the device is not sent away for it."""
    world.came.append(events.RehearsalWished())
    world.settle()
    before = len(world.asks)
    world.move(11_000)
    assert [ask.wish for ask in world.asks[before:]] == ["rehearse", "rehearse"]


def test_ask_when_a_device_has_hooks_or_none_then_it_offers_what_the_agent_does(world: World) -> None:
    """A rehearsal needs neither hook nor runner."""
    offered = [world.asks[-1].verbs]
    world.runner.verbs = ()
    world.crash()
    world.start()
    assert [*offered, world.asks[-1].verbs] == [
        ("message", "reboot", "settings-apply", *AGENT_VERBS),
        AGENT_VERBS,
    ]


def test_ask_when_the_agent_has_just_started_and_the_runner_is_silent_then_it_offers_what_it_did_before(
    world: World,
) -> None:
    """What somebody asks for in that moment is not refused for lack of a hook that is there."""
    world.crash()
    world.runner.is_there = False
    world.start()
    offered = [world.asks[-1].verbs]
    world.runner.is_there, world.runner.verbs = True, ("message",)
    world.runner.report()
    world.settle()
    offered.append(world.asks[-1].verbs)
    assert offered == [("message", "reboot", "settings-apply", *AGENT_VERBS), ("message", *AGENT_VERBS)]
