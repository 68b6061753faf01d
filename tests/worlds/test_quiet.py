"""What an agent leaves undone while nobody has ordered anything: above all, it loads no signature library."""

from doorward_protocol.orders import ShutDoor

from tests.worlds.device import World


def restarted_in_agreement() -> World:
    """A device after a session, whose agent was started anew and whose console has every record but that start's."""
    world = World()
    world.deliver(world.order(world.body()))
    world.deliver(world.order(ShutDoor(None)))
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    world.crash()
    world.start()
    return world


def test_receipt_when_it_says_nothing_new_then_it_is_not_even_verified() -> None:
    """A console receipts each ask of a device with unsent records; an agent that only started stays small all the same."""
    world = restarted_in_agreement()
    world.deliver(world.receipt(world.journal.head.n - 1), "receipt")
    assert not world.signing.is_loaded


def test_receipt_when_it_says_another_history_then_an_idle_agent_writes_that_down() -> None:
    """What contradicts the journal is looked at, library or not."""
    world = restarted_in_agreement()
    world.deliver(world.receipt(world.journal.head.n - 1, "sha256:" + "0" * 64), "receipt")
    assert world.sent_records[-1].fact.verb == "history.forked"


def test_receipt_when_a_console_was_restored_then_an_idle_agent_sends_what_it_lost() -> None:
    """A lower receipt is news."""
    world = restarted_in_agreement()
    last = world.journal.head.n
    sent = len(world.sent_records)
    world.deliver(world.receipt(1), "receipt")
    assert [record.head.n for record in world.sent_records[sent:]] == list(range(2, last + 1))
