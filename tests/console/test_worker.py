"""The worker's whole way, with a real broker, a relay over real HTTPS and a device over real MQTT."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from doorward_protocol.orders import ShutDoor

from tests.console.rig import Rig, rig_at
from tests.parts.mosquitto import Broker
from tests.worlds.relay import scripted_relay


@pytest.fixture
def rig(transactional_db: None, broker: Broker, scratch: Path) -> Iterator[Rig]:
    with scripted_relay(scratch) as relay, rig_at(broker, relay, scratch) as rig:
        yield rig


@pytest.mark.real("mosquitto")
@pytest.mark.feature("E3", "E5")
def test_door_when_turned_on_and_off_then_opens_on_the_relays_answer_and_closes_on_its_word(rig: Rig) -> None:
    """Green comes with the relay's probe alone, shut with the relay's word, and everything is in the history."""
    session = rig.open()
    opened = rig.session()
    assert [one["step"] for one in opened.steps][-1] == "answered"
    assert rig.relay.count("put") == 1
    seen = len(rig.device.orders)
    rig.off()
    closed = rig.wait_state("closed")
    assert closed.relay_shut_at is not None
    assert closed.code == "session.turned-off"
    assert rig.relay.ended == [session]
    assert isinstance(rig.device.next_order(seen).body, ShutDoor)
    rig.wait(lambda: "session.closed" in rig.verbs(), "the record")
    done = ["session.on", "session.ordered", "session.opened", "session.off", "session.closed"]
    assert [verb for verb in dict.fromkeys(rig.verbs()) if verb in done] == done
