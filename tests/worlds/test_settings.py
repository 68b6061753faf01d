"""Settings in a world: each change is told once, and a trial is waited out with the runner, never without it."""

from dataclasses import replace

import pytest
from doorward_agent.events import MessageArrived
from doorward_protocol.envelope import decode
from doorward_protocol.orders import ApplySettings, ConfirmSettings
from doorward_protocol.orders import order_from_payload as read

from tests.worlds.device import World

pytestmark = pytest.mark.feature("I15", "B7")

VERBS = ("settings.begun", "settings.trying", "settings.applied", "settings.reverted", "settings.failed")
NEW = ApplySettings({"address": "new"})


@pytest.fixture
def world() -> World:
    """A device with hooks that is connected and has told all."""
    return World()


def told(world: World) -> list[str]:
    return [verb for verb in world.journal.verbs if verb in VERBS]


def lose_link(world: World) -> None:
    """Lose the connection; the next dial, within a second or so, gets through."""
    world.broker.drop()
    world.settle()
    world.broker.is_up = True


def confirmation(raw: bytes) -> ConfirmSettings:
    order = read(decode(raw, expected="order").payload)
    return ConfirmSettings(order.revision, order.digest)


def test_settings_when_confirmed_then_the_ask_says_each_step(world: World) -> None:
    """On trial until the console's word, and each step is a record once."""
    raw = world.order(NEW)
    world.deliver(raw)
    assert (world.asks[-1].settings.state, world.asks[-1].settings.values) == ("trying", {"address": "new"})
    world.move(10_000)
    world.deliver(world.order(confirmation(raw)))
    assert world.asks[-1].settings.state == "confirmed"
    assert told(world) == ["settings.begun", "settings.trying", "settings.applied"]
    assert world.runner.calls.count("settings") == world.runner.calls.count("confirm") == 1


@pytest.mark.parametrize("how", ["goes-on", "agent-killed"])
def test_settings_when_the_runner_puts_them_back_then_the_agent_hears_and_says_so(world: World, how: str) -> None:
    """The runner does it by itself; also an agent that was started anew tells why."""
    world.deliver(world.order(NEW))
    if how == "agent-killed":
        world.crash()
    world.runner.settings = replace(
        world.runner.settings, state="reverted", code="settings.unconfirmed", said="so it is"
    )
    if how == "agent-killed":
        world.start()
    world.move(4_000)
    assert told(world) == ["settings.begun", "settings.trying", "settings.reverted"]
    (fact,) = world.facts("settings.reverted")
    assert (fact["code"], fact["said"]) == ("settings.unconfirmed", "so it is")
    assert (world.asks[-1].settings.state, world.asks[-1].settings.code) == ("reverted", "settings.unconfirmed")


@pytest.mark.parametrize("how", ["goes-on", "agent-killed"])
def test_settings_when_they_were_put_back_while_nobody_was_there_then_no_ask_says_that_they_are_on_trial(
    world: World, how: str
) -> None:
    """The console would take it for a sign of life under the new settings, and write that it confirmed them."""
    world.deliver(world.order(NEW))
    if how == "agent-killed":
        world.crash()
    else:
        lose_link(world)
    world.runner.settings = replace(world.runner.settings, state="reverted", code="settings.unconfirmed")
    world.runner.is_there = False  # and takes its time
    before = len(world.asks)
    if how == "agent-killed":
        world.start()
    world.move(3_000)
    world.runner.is_there = True
    world.move(10_000)
    states = [ask.settings.state for ask in world.asks[before:]]
    assert states[-1] == "reverted"
    assert "trying" not in states


def test_settings_when_a_trial_goes_on_after_the_link_was_lost_then_the_console_is_told_once_the_runner_has_said_it(
    world: World,
) -> None:
    """Its confirmation waits for that word, also where the runner takes its time."""
    raw = world.order(NEW)
    world.deliver(raw)
    lose_link(world)
    world.runner.is_there = False
    before = len(world.asks)
    world.move(10_000)
    assert {ask.settings.state for ask in world.asks[before:]} == {"applying"}
    world.runner.is_there = True
    world.move(4_000)
    states = [ask.settings.state for ask in world.asks[before:]]
    assert (states[0], states[-1]) == ("applying", "trying")
    world.deliver(world.order(confirmation(raw)))
    assert told(world) == ["settings.begun", "settings.trying", "settings.applied"]


def test_settings_when_the_runner_refuses_the_nonce_then_each_order_is_signed_again(world: World) -> None:
    """The ask names which of the two is lacking."""
    world.runner.refusals = ["order.stale-nonce"]
    world.deliver(world.order(NEW))
    assert world.asks[-1].settings.lacks == "settings"
    raw = world.order(NEW, revision=world.revision)
    world.deliver(raw)
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("trying", "")
    world.runner.refusals = ["order.stale-nonce"]
    confirm = confirmation(raw)
    world.deliver(world.order(confirm))
    assert world.asks[-1].settings.lacks == "confirm"
    world.deliver(world.order(confirm, revision=world.revision))
    assert world.asks[-1].settings.state == "confirmed"
    assert told(world) == ["settings.begun", "settings.trying", "settings.applied"]


def test_settings_when_they_were_signed_again_before_the_runner_refused_the_first_then_those_are_tried(
    world: World,
) -> None:
    """As with the door: the console tells no third for half a minute."""
    world.runner.refusals = ["order.stale-nonce"]
    first = world.order(NEW)
    again = world.order(NEW, revision=world.revision)
    world.came.extend(MessageArrived("order", raw) for raw in (first, again))
    world.settle()
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("trying", "")
    assert told(world) == ["settings.begun", "settings.trying"]
    assert world.runner.calls.count("settings") == 2


def test_settings_when_they_cannot_be_put_back_then_it_is_told_and_asked_about_again(world: World) -> None:
    """The worst there is is said as such; what becomes of it later, too."""
    world.deliver(world.order(NEW))
    world.runner.settings = replace(world.runner.settings, state="failed", code="settings.unconfirmed")
    world.move(4_000)
    assert world.asks[-1].settings.state == "failed"
    world.runner.settings = replace(world.runner.settings, state="reverted")
    world.move(65_000)
    assert told(world) == ["settings.begun", "settings.trying", "settings.failed", "settings.reverted"]


def test_settings_when_the_device_has_no_hook_for_them_then_it_only_holds_the_document(world: World) -> None:
    """As before there were hooks: nothing is tried, nothing is handed to root."""
    world.runner.verbs = ()
    world.crash()
    world.start()
    world.deliver(world.order(NEW))
    assert (world.asks[-1].settings.values, world.asks[-1].settings.state) == ({"address": "new"}, "none")
    assert told(world) == ["settings.applied"]
    assert "settings" not in world.runner.calls


@pytest.mark.parametrize("has_hook", [True, False])
def test_settings_when_they_come_before_the_runner_said_which_hooks_there_are_then_nothing_is_claimed(
    world: World, *, has_hook: bool
) -> None:
    """An agent that has just started does not know yet; what it held is tried as soon as it does, or said to be held, once."""
    if not has_hook:
        world.runner.verbs = ()
    world.crash()
    world.runner.is_there = False
    world.start()
    world.deliver(world.order(NEW))
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks, told(world)) == ("applying", "", [])
    for _ in range(2):
        world.runner.is_there = True
        world.runner.report()
        world.settle()
        now = world.asks[-1].settings
        assert (now.state, now.lacks) == (("trying", "") if has_hook else ("none", ""))
        world.crash()
        world.start()
    assert told(world) == (["settings.begun", "settings.trying"] if has_hook else ["settings.applied"])


def test_settings_when_the_agent_is_ended_before_the_runner_said_which_hooks_there_are_then_they_are_signed_again(
    world: World,
) -> None:
    """The order was kept in memory alone; the next agent says that it lacks it."""
    world.crash()
    world.runner.is_there = False
    world.start()
    world.deliver(world.order(NEW))
    world.crash()
    world.runner.is_there = True
    world.start()
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("applying", "settings")


def test_settings_when_a_hook_comes_later_then_what_was_only_held_is_tried(world: World) -> None:
    """The device maker's script arrives with an update: the document that waits for it is signed again."""
    world.runner.verbs = ()
    world.crash()
    world.start()
    world.deliver(world.order(NEW))
    world.runner.verbs = ("settings-apply",)
    world.crash()
    world.start()
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("applying", "settings")
    world.deliver(world.order(NEW, revision=world.revision))
    assert told(world) == ["settings.applied", "settings.begun", "settings.trying"]


def test_settings_when_the_runner_refuses_them_for_good_then_they_count_as_put_back(world: World) -> None:
    """Its no is the end of it: nothing was tried."""
    world.runner.refusals = ["settings.no-timer"]
    world.deliver(world.order(NEW))
    assert (world.asks[-1].settings.state, world.asks[-1].settings.code) == ("reverted", "settings.no-timer")


def test_settings_when_the_runner_is_away_then_it_is_asked_until_it_says(world: World) -> None:
    """What became of an order that was handed on into silence only the runner knows."""
    world.runner.is_there = False
    world.deliver(world.order(NEW))
    assert world.asks[-1].settings.state == "applying"
    world.runner.is_there = True
    held = world.asks[-1].settings
    told_later = replace(
        world.runner.settings, state="trying", epoch=0, revision=held.revision.number, digest=held.digest
    )
    world.runner.settings = told_later
    world.move(4_000)
    assert world.asks[-1].settings.state == "trying"


def test_settings_when_the_runner_never_had_them_then_their_order_is_asked_for(world: World) -> None:
    """Handed on into silence, and the runner that is back knows nothing of it: they are not "applying" for ever."""
    world.runner.is_there = False
    world.deliver(world.order(NEW))
    world.runner.is_there = True
    world.move(4_000)
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("applying", "settings")
    world.deliver(world.order(NEW, revision=world.revision))
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("trying", "")
    assert told(world) == ["settings.begun", "settings.trying"]


def test_settings_when_the_agent_was_ended_between_accepting_and_handing_on_then_they_are_asked_for(
    world: World,
) -> None:
    """Two documents are two writes: the earlier settings' state must not be said of these."""
    first = world.order(NEW)
    world.deliver(first)
    world.deliver(world.order(confirmation(first)))
    earlier = world.store.durable["settings"]
    world.deliver(world.order(ApplySettings({"address": "newer"})))
    world.crash()
    world.store.durable["settings"] = earlier
    world.start()
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("applying", "settings")
    world.deliver(world.order(ApplySettings({"address": "newer"}), revision=world.revision))
    assert (world.asks[-1].settings.state, world.asks[-1].settings.lacks) == ("trying", "")
