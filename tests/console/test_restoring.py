"""A console put back from a backup: how high its new epoch is, whose word raises it, and what is asked for anew."""

from typing import Any, Final

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Relay
from doorward_console.history.models import Chain
from doorward_console.history.own import author_of
from doorward_console.history.restoring import open_epoch
from doorward_console.maintenance.commands.asking import Wish
from doorward_console.maintenance.commands.promoting import free_devices
from doorward_console.maintenance.models import Desired, Order
from doorward_console.maintenance.orders import ask_where_due
from doorward_protocol.digests import Digest
from doorward_protocol.ids import DeviceId
from doorward_protocol.records import Head
from doorward_protocol.revisions import MAX_EPOCH_STEP, NEVER, Revision, is_too_far_ahead

from tests.console.commanding import asked, can_all, done, fresh, holds, signer_at_work
from tests.console.conftest import House
from tests.console.test_inbox import a_device, arrive
from tests.worlds.scripted_device import ScriptedDevice

HELD: Final[dict[str, Any]] = {
    "code": "order.lower-revision",
    "part": "door",
    "held_revision": 7,
    "offered_epoch": 0,
    "offered_revision": 1,
}


def refuses(device: ScriptedDevice, held_epoch: Any) -> None:
    """Let a device say, signed, that an order was older than what it holds."""
    assert arrive(device, device.record("order.refused", **HELD, held_epoch=held_epoch)) == ["order.refused"]


def names_head(house: House, device: ScriptedDevice, epoch: int) -> None:
    """Let a device name, signed, a head of the console's chain."""
    device.heads[author_of(house.project.pk)] = Head(epoch, 90, Digest("sha256:" + "0" * 64))
    assert arrive(device, device.record("agent.started")) == ["agent.started"]


def another_device(house: House) -> ScriptedDevice:
    device = ScriptedDevice(DeviceId("d-aaaaaaaaaaaaaaaa"))
    Chain.objects.create(project=house.project, author=f"device:{device.device}", public_key=device.key.public)
    return device


def opened(house: House) -> int:
    """Open an epoch as ``doorward-console restored`` does."""
    return open_epoch(house.project.pk, "root")


@pytest.mark.feature("B6")
@pytest.mark.threat("database-restored")
def test_epoch_when_a_device_refused_from_a_higher_one_then_above_it(house: House) -> None:
    """A backup from before an earlier restore does not know that one; a device's refusal does, however long ago."""
    device = a_device(house)
    refuses(device, 2)
    arrive(device, device.record("agent.started"))
    assert opened(house) == 3


@pytest.mark.feature("B6")
@pytest.mark.threat("database-restored")
def test_epoch_when_somebody_names_a_head_of_a_higher_one_then_above_it(house: House) -> None:
    """What a device last heard of the console's own chain counts too, before it has refused anything."""
    names_head(house, a_device(house), 4)
    assert opened(house) == 5


@pytest.mark.feature("B6")
@pytest.mark.threat("device-foreign-counters")
@pytest.mark.parametrize(
    ("how", "claimed"),
    [("refusal", MAX_EPOCH_STEP), ("refusal", 2**31), ("refusal", 2**70), ("head", MAX_EPOCH_STEP), ("head", 2**31)],
)
def test_epoch_when_one_device_claims_one_out_of_reach_then_the_others_still_obey(
    house: House, how: str, claimed: int
) -> None:
    """A device whose root lies about what it holds cannot carry the console to where honest devices follow no more."""
    liar, honest = a_device(house), another_device(house)
    refuses(honest, 1)
    refuses(liar, claimed) if how == "refusal" else names_head(house, liar, claimed)
    epoch = opened(house)
    assert epoch == 2
    assert not is_too_far_ahead(Revision(epoch, 1), NEVER)


@pytest.mark.feature("B6")
def test_epoch_when_the_highest_believed_is_claimed_then_one_step_of_a_devices(house: House) -> None:
    """The furthest that one restore goes is the furthest that a device follows which has heard nothing since the backup."""
    refuses(a_device(house), MAX_EPOCH_STEP - 1)
    epoch = opened(house)
    assert epoch == MAX_EPOCH_STEP
    assert not is_too_far_ahead(Revision(epoch, 1), NEVER)


@pytest.mark.feature("B6")
def test_restore_when_it_is_done_then_orders_and_relays_begin_anew_in_the_epoch(house: House) -> None:
    """What devices should be stays word for word under revision 1; an order that was signed before is never sent."""
    Desired.objects.create(device=house.device, part="door", epoch=0, revision=9, body="{}", digest="sha256:x")
    waiting = [
        Order.objects.create(device=house.device, part="door", nonce="n" * 22, state=state)
        for state in ("asked", "signed", "sent")
    ]
    Relay.objects.update(sequence=40)
    epoch = opened(house)
    kept, relay = Desired.objects.get(), Relay.objects.get()
    assert (kept.epoch, kept.revision, kept.body) == (epoch, 1, "{}")
    assert (relay.epoch, relay.sequence) == (epoch, 0)
    assert [Order.objects.get(pk=one.pk).state for one in waiting] == ["dropped", "dropped", "sent"]


@pytest.mark.feature("B6", "I11")
@pytest.mark.threat("database-restored")
@pytest.mark.parametrize("state", ["asked", "queued", "ordered", "begun"])
def test_command_when_the_console_is_restored_then_no_device_does_it_a_second_time(house: House, state: str) -> None:
    """It may have been done since the backup: it is not told again, and what the device signed of it counts once it is heard."""
    can_all(house, presence="away" if state == "queued" else "connected")
    command = asked(house, Wish("reboot"))
    if state != "asked":
        signer_at_work(house)
    if state == "begun":
        holds(house)
    assert fresh(command).state == state
    opened(house)
    signer_at_work(house)
    can_all(house, nonce="m" * 22, runner_nonce="s" * 22)
    assert (ask_where_due(timezone.now()), free_devices()) == (0, [])
    signer_at_work(house)
    assert not Order.objects.filter(epoch=1).exists()
    told = ("failed", "command.interrupted") if state == "begun" else ("cancelled", "command.console-restored")
    assert (fresh(command).state, command.code) == told
    assert done(house, command) == 1
    assert (fresh(command).state, command.code) == ("done", "")
    after = asked(house)
    signer_at_work(house)
    assert (fresh(after).state, Order.objects.filter(epoch=1).count()) == ("ordered", 1)
