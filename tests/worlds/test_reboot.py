"""What an earlier boot left behind on a device whose runtime folder outlives it: none of it says what time it is."""

import pytest
from doorward_agent import effects as do

from tests.worlds.device import World


@pytest.mark.feature("B9")
def test_reboot_when_files_of_the_boot_before_are_left_then_their_times_are_none() -> None:
    """A reading of another boot's clock is no end and no time: the door that is found waits for the console's word."""
    world = World()
    world.start()
    body = world.body()
    world.deliver(world.order(body))
    passing, left, port = dict(world.store.passing), world.runner.session, world.runner.port
    assert {"session", "time"} <= passing.keys()
    world.reboot()
    world.store.passing.update(passing)
    world.runner.session, world.runner.port = left, port
    world.start()
    assert world.state in {"RETRYING", "OPENING"}
    assert do.DOOR_END not in world.runtime.timers
    world.deliver(world.order(body, revision=world.revision))
    assert world.state == "OPEN"
    assert world.runtime.timers[do.DOOR_END] <= world.clock.boot_ms + body.duration_s * 1_000
    started = [record for record in world.sent_records if record.fact.verb == "agent.started"][-1]
    assert started.moment.at is None
