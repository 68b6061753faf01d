"""Commands in a world: at most once, told once, and never left without an end."""

import pytest
from doorward_agent.events import MessageArrived
from doorward_protocol.commands import AGENT_VERBS, Outcome

from tests.worlds.device import MINUTE_MS, World

pytestmark = pytest.mark.feature("I11")


@pytest.fixture
def world() -> World:
    """A device that is connected and has told all."""
    return World()


def test_command_when_it_is_ordered_then_it_runs_once_and_both_records_tell(world: World) -> None:
    """The record of the beginning stands before the act, the outcome after it."""
    world.runner.outcome = Outcome("hook.failed", 3, "no space", None, 12)
    world.deliver(world.order(world.command(verb="message")))
    command = world.command().command
    assert world.runner.ran == [command]
    assert [one["command"] for one in world.facts("command.begun")] == [command]
    (done,) = world.facts("command.done")
    assert (done["code"], done["status"], done["said"], done["lasted_ms"]) == ("hook.failed", 3, "no space", 12)
    assert world.journal.verbs.index("command.begun") < world.journal.verbs.index("command.done")


def test_command_when_it_comes_again_then_it_is_neither_run_nor_told_again(world: World) -> None:
    """A broker that plays it again brings an old nonce; a console that signs it again is told nothing new."""
    raw = world.order(world.command())
    world.deliver(raw)
    world.deliver(raw)
    world.deliver(world.order(world.command(), revision=world.revision))
    assert len(world.runner.ran) == len(world.facts("command.done")) == 1
    world.deliver(world.order(world.command(number=2)))
    world.deliver(world.order(world.command(), revision=world.revision - 1))
    assert world.refusals[-1] == "order.lower-revision"


def test_command_when_the_runner_refuses_the_nonce_then_it_is_signed_again_and_runs(world: World) -> None:
    """The device says that it lacks the order; the same revision again is welcome."""
    world.runner.refusals = ["order.stale-nonce"]
    world.deliver(world.order(world.command()))
    assert world.asks[-1].command.needs_order
    assert world.facts("command.done") == []
    world.deliver(world.order(world.command(), revision=world.revision))
    assert world.runner.ran == [world.command().command]
    assert [one.command.needs_order for one in world.asks][-1] is False
    assert len(world.facts("command.begun")) == len(world.facts("command.done")) == 1


def test_command_when_it_was_signed_again_before_the_runner_refused_the_first_then_that_one_runs(world: World) -> None:
    """An opening had used up its nonce, the console knew already, and told no third for half a minute."""
    world.runner.refusals = ["order.stale-nonce"]
    first = world.order(world.command())
    again = world.order(world.command(), revision=world.revision)
    world.came.extend(MessageArrived("order", raw) for raw in (first, again))
    world.settle()
    assert world.runner.ran == [world.command().command]
    assert not world.asks[-1].command.needs_order
    assert len(world.facts("command.begun")) == len(world.facts("command.done")) == 1


def test_command_when_also_the_one_that_was_signed_again_is_refused_then_the_console_is_asked(world: World) -> None:
    """What was kept is used once, and never for another command."""
    world.runner.refusals = ["order.stale-nonce", "order.stale-nonce"]
    first = world.order(world.command())
    again = world.order(world.command(), revision=world.revision)
    world.came.extend(MessageArrived("order", raw) for raw in (first, again))
    world.settle()
    assert world.runner.calls.count("command") == 2
    assert world.asks[-1].command.needs_order
    world.runner.refusals = ["order.stale-nonce"]
    world.deliver(world.order(world.command(number=2)))
    assert world.runner.calls.count("command") == 3
    assert world.asks[-1].command.needs_order


@pytest.mark.parametrize("is_rebooted", [False, True], ids=["agent-killed", "power-cut"])
def test_command_when_the_agent_is_killed_while_it_runs_then_the_runner_is_asked(
    world: World, *, is_rebooted: bool
) -> None:
    """Whoever starts again asks how it went, and runs nothing."""
    world.runner.outcome = None
    world.deliver(world.order(world.command()))
    assert world.facts("command.done") == []
    world.reboot() if is_rebooted else world.crash()
    world.start()
    assert world.facts("command.done") == []
    world.runner.outcome = Outcome("command.interrupted")
    world.move(4_000)
    assert [one["code"] for one in world.facts("command.done")] == ["command.interrupted"]
    assert world.runner.calls.count("command") == 1


def test_reboot_when_the_boot_has_changed_then_it_has_gone_well(world: World) -> None:
    """The classic trap: a reboot that is ordered again by the device that has just rebooted."""
    world.deliver(world.order(world.command(verb="reboot")))
    assert world.facts("command.done") == []
    world.reboot()
    world.start()
    assert [one["code"] for one in world.facts("command.done")] == [None]
    world.deliver(world.order(world.command(verb="reboot"), revision=world.revision))
    assert world.runner.calls.count("command") == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_reboot_when_the_boot_stays_then_it_had_no_effect(world: World, *, is_restarted: bool) -> None:
    """The hook says done, and two minutes later the machine is still the same: the page must not say that it restarted."""
    world.deliver(world.order(world.command(verb="reboot")))
    if is_restarted:
        world.crash()
        world.start()
    world.move(MINUTE_MS)
    assert world.facts("command.done") == []
    world.move(2 * MINUTE_MS)
    assert [one["code"] for one in world.facts("command.done")] == ["command.no-effect"]


def test_command_when_the_runner_is_silent_then_it_ends_with_its_code_and_not_before_a_minute(world: World) -> None:
    """It may have begun: the runner is asked for a minute before the command counts as one that never did."""
    world.runner.is_there = False
    world.deliver(world.order(world.command()))
    world.move(30_000)
    assert world.facts("command.done") == []
    world.move(2 * MINUTE_MS)
    assert [one["code"] for one in world.facts("command.done")] == ["runner.unavailable"]


def test_command_when_the_runner_never_had_it_then_it_is_not_run_late(world: World) -> None:
    """The runner was away when the order came and knows nothing of it: it stays undone, and the console is told."""
    world.runner.is_there = False
    world.deliver(world.order(world.command()))
    world.runner.is_there = True
    world.move(4_000)
    assert world.runner.ran == []
    assert [one["code"] for one in world.facts("command.done")] == ["runner.unavailable"]


def test_command_when_it_has_expired_by_the_devices_time_then_refused(world: World) -> None:
    """Kept back beyond its end: also where the console's clock goes back."""
    expires_at = world.clock.boot_ms + world.console_offset_ms + MINUTE_MS
    world.deliver(world.order(world.body()))
    world.move(2 * MINUTE_MS)
    world.console_offset_ms -= 2 * MINUTE_MS
    world.deliver(world.order(world.command(expires_at=expires_at)))
    assert world.refusals[-1] == "order.past-its-end"
    assert world.runner.ran == []


def test_command_when_the_disk_is_full_then_it_still_runs_once(world: World) -> None:
    """The agent cannot write it down; the runner has, and that is what counts."""
    world.store.is_full = True
    raw = world.order(world.command())
    world.deliver(raw)
    world.deliver(world.order(world.command(), revision=world.revision))
    assert world.runner.ran == [world.command().command]


def test_door_when_a_command_is_at_work_then_it_opens_and_shuts_all_the_same(world: World) -> None:
    """A hook of a minute holds nobody up."""
    world.runner.outcome = None
    world.deliver(world.order(world.command()))
    world.deliver(world.order(world.body()))
    assert world.state == "OPEN"


def test_command_when_the_agent_was_ended_between_accepting_and_beginning_then_its_order_is_asked_for(
    world: World,
) -> None:
    """Two documents are two writes: what was accepted and never begun would else be waited for for ever."""
    world.deliver(world.order(world.command(number=2)))
    earlier = world.store.durable["command"]
    world.deliver(world.order(world.command()))
    world.crash()
    world.store.durable["command"] = earlier
    world.runner.ran.pop()
    world.start()
    assert world.asks[-1].command.needs_order
    world.deliver(world.order(world.command(), revision=world.revision))
    assert world.runner.ran[-1] == world.command().command
    assert world.facts("command.done")[-1]["command"] == world.command().command


@pytest.mark.parametrize("is_rebooted", [False, True], ids=["agent-killed", "power-cut"])
def test_ask_when_the_runner_has_not_answered_then_it_says_that_the_hooks_are_not_known_until_it_does(
    world: World, *, is_rebooted: bool
) -> None:
    """A device that cannot ask its runner is not one without hooks; it asks again, and tells the console at once."""
    assert world.asks[-1].knows_hooks
    if is_rebooted:
        world.reboot()
    else:
        world.crash()
    world.runner.is_there = False
    world.start()
    world.move(MINUTE_MS)
    before = () if is_rebooted else world.runner.verbs  # within a boot the agent has written down what it was told
    assert (world.asks[-1].verbs, world.asks[-1].knows_hooks) == ((*before, *AGENT_VERBS), False)
    world.runner.is_there = True
    world.move(6 * MINUTE_MS)
    assert (world.asks[-1].verbs, world.asks[-1].knows_hooks) == ((*world.runner.verbs, *AGENT_VERBS), True)


def test_ask_when_the_runner_has_no_hook_then_that_is_known(world: World) -> None:
    """None is an answer, too."""
    world.crash()
    world.runner.verbs = ()
    world.start()
    assert (world.asks[-1].verbs, world.asks[-1].knows_hooks) == (AGENT_VERBS, True)
