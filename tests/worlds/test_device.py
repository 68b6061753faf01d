"""The agent in a world whose clock, broker, runner, relay and disk the test moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from doorward_agent import effects as do
from doorward_agent import events
from doorward_protocol.orders import ShutDoor
from doorward_protocol.records import Head, check_link, record_from_payload

from tests.worlds.device import MINUTE_MS, YEAR_MS, World


@pytest.fixture
def world() -> World:
    return World()


def open_door(world: World, number: int = 1) -> bytes:
    raw = world.order(world.body(number))
    world.deliver(raw)
    assert world.state == "OPEN"
    assert world.tunnel.is_up
    return raw


@pytest.mark.threat("broker-late")
@pytest.mark.parametrize("held_back_ms", [10 * MINUTE_MS, 30 * MINUTE_MS])
def test_order_when_kept_back_for_ten_minutes_then_stale_and_asked_for_anew(world: World, held_back_ms: int) -> None:
    """An order delivered ten minutes late opens nothing, and one ask brings a fresh one."""
    raw = world.order(world.body())
    world.move(held_back_ms)
    asked = len(world.asks)
    world.deliver(raw)
    assert world.state == "SHUT"
    assert world.refusals == ["order.stale-nonce"]
    assert len(world.asks) == asked + 1
    world.deliver(world.order(world.body(), revision=world.revision))
    assert world.state == "OPEN"


def test_order_when_kept_back_over_a_suspend_then_stale(world: World) -> None:
    """Time that passes while the device sleeps counts too."""
    raw = world.order(world.body())
    world.clock.boot_ms += 11 * MINUTE_MS
    world.deliver(raw)
    assert world.refusals == ["order.stale-nonce"]


def test_ask_when_stale_orders_flood_then_one_ask_in_ten_seconds(world: World) -> None:
    """A broker that plays old orders again and again makes the device ask six times a minute at most, besides the usual ask."""
    raw = world.order(world.body())
    world.move(10 * MINUTE_MS)
    asked = len(world.asks)
    for _ in range(60):
        world.deliver(raw)
        world.move(1_000)
    assert len(world.asks) - asked <= 7 + 1
    assert world.state == "SHUT"


def test_ask_when_the_broker_lost_the_first_after_an_outage_then_it_is_said_again_within_half_a_minute(
    world: World,
) -> None:
    """A broker that was started anew keeps nothing for a worker that is not back yet."""
    world.broker.drop()
    world.settle()
    world.broker.is_up = True
    world.move(MINUTE_MS)
    before = len(world.asks)
    world.broker.drop()
    world.settle()
    world.broker.is_up = True
    world.move(32_000, 1_000)
    assert len(world.asks) - before == 2
    world.move(4 * MINUTE_MS, 1_000)
    assert len(world.asks) - before == 2


@pytest.mark.parametrize("years", [-10, 10])
def test_clock_when_ten_years_off_then_session_opens_and_ends_on_time(years: int) -> None:
    """The device's own clock decides nothing: a session opens, lasts its hour, and is written down in console time."""
    world = World()
    world.clock.wall_offset_ms += years * YEAR_MS
    open_door(world)
    world.move(59 * MINUTE_MS, MINUTE_MS)
    assert world.state == "OPEN"
    world.move(2 * MINUTE_MS)
    assert world.state == "SHUT"
    ats = [record.moment.at for record in world.sent_records if record.fact.verb.startswith("door.")]
    assert all(at is not None and abs(at - world.console_offset_ms - world.clock.boot_ms) < YEAR_MS / 300 for at in ats)


@pytest.mark.feature("E9", "B9")
@pytest.mark.parametrize("jump_ms", [-YEAR_MS, -90_000, 90_000, YEAR_MS])
def test_clock_when_it_jumps_while_a_door_is_open_then_the_session_ends_on_time(world: World, jump_ms: int) -> None:
    """Somebody sets the device's clock in the middle of a session: it lasts its hour, no more and no less."""
    open_door(world)
    world.move(30 * MINUTE_MS, MINUTE_MS)
    world.clock.wall_offset_ms += jump_ms
    world.move(29 * MINUTE_MS, MINUTE_MS)
    assert world.state == "OPEN"
    world.move(2 * MINUTE_MS)
    assert world.state == "SHUT"


@pytest.mark.threat("ends-device-alone", "broker-keeps-open")
def test_session_when_broker_drops_everything_then_the_device_ends_it_alone(world: World) -> None:
    """Losing the broker does not shut an open door; its end does, with nobody's help."""
    open_door(world)
    world.broker.drop()
    world.settle()
    world.move(30 * MINUTE_MS, MINUTE_MS)
    assert world.state == "OPEN"
    world.move(31 * MINUTE_MS, MINUTE_MS)
    assert world.state == "SHUT"
    assert world.runner.session is None
    assert not world.tunnel.is_up
    world.move(23 * 60 * MINUTE_MS, MINUTE_MS)
    assert (world.state, len(world.runner.calls)) == ("SHUT", 2), "a day alone leaves it shut, and root undisturbed"
    world.broker.is_up = True
    world.move(2 * MINUTE_MS)
    assert world.sent_records[-1].fact.verb == "door.closed"
    assert world.sent_records[-1].fact.data == {"code": "session.expired"}


def test_session_when_device_sleeps_past_its_end_then_shut_at_waking(world: World) -> None:
    """Suspend does not stretch a session."""
    open_door(world)
    world.clock.boot_ms += 3 * 60 * MINUTE_MS
    world.settle()
    assert world.state == "SHUT"


@pytest.mark.feature("E9", "B9")
@pytest.mark.parametrize("is_tunnel_lost", [False, True])
def test_door_when_it_dies_while_the_tunnel_stands_or_is_dialled_again_then_it_is_missed_within_seconds(
    world: World, *, is_tunnel_lost: bool
) -> None:
    """Nobody tells the agent, and a tunnel to a dead door is no way in: it looks, and asks for the order again."""
    raw_body = world.body()
    world.deliver(world.order(raw_body))
    world.move(5 * MINUTE_MS)
    if is_tunnel_lost:
        world.tunnel.lose()
    world.runner.die()
    world.move(12_000)
    assert world.asks[-1].door.needs_order
    world.deliver(world.order(raw_body, revision=world.revision))
    assert (world.state, world.runner.session, world.tunnel.is_up) == ("OPEN", raw_body.session, True)


def test_agent_when_restarted_then_reconciles_on_the_equal_order(world: World) -> None:
    """The order signed again for the same revision brings the tunnel back, and the end stays where it was."""
    body = world.body(ends_at=world.clock.boot_ms + world.console_offset_ms + 5 * 60 * MINUTE_MS)
    world.deliver(world.order(body))
    world.move(40 * MINUTE_MS, MINUTE_MS)
    world.crash()
    world.start()
    assert world.asks[-1].door.needs_order
    world.deliver(world.order(body, revision=world.revision))
    assert world.state == "OPEN"
    assert world.tunnel.is_up
    world.move(19 * MINUTE_MS, MINUTE_MS)
    assert world.state == "OPEN"
    world.move(2 * MINUTE_MS)
    assert world.state == "SHUT"


def test_agent_when_restarted_and_console_silent_then_door_still_ends(world: World) -> None:
    """Without a word from the console the found door is shut at its end."""
    open_door(world)
    world.crash()
    world.broker.is_up = False
    world.start()
    assert world.state in {"RETRYING", "OPENING"}
    world.move(61 * MINUTE_MS, MINUTE_MS)
    assert world.state == "SHUT"
    assert world.runner.session is None


def test_agent_when_killed_while_closing_then_the_session_does_not_come_back(world: World) -> None:
    """A session written down as ended is closed at the next start, whatever the runner still holds."""
    open_door(world)
    world.runner.is_there = False
    world.deliver(world.order(ShutDoor(None)))
    assert world.state == "CLOSING"
    world.crash()
    world.runner.is_there = True
    world.start()
    assert world.runner.session is None
    assert world.state == "SHUT"


def test_runner_when_it_does_not_answer_then_closing_goes_on_until_it_does(world: World) -> None:
    """The tunnel ends at once; closing the door is tried again until the runner answers."""
    open_door(world)
    world.runner.is_there = False
    world.deliver(world.order(ShutDoor(None)))
    assert not world.tunnel.is_up
    world.move(5 * MINUTE_MS)
    assert world.state == "CLOSING"
    world.runner.is_there = True
    world.move(2 * MINUTE_MS)
    assert world.state == "SHUT"


def test_reboot_when_a_session_was_open_then_time_is_unknown_and_the_order_opens_it_again(world: World) -> None:
    """After a reboot the device says so with null times, and a fresh order opens what is still wanted."""
    body = world.body()
    world.deliver(world.order(body))
    world.reboot()
    world.console_offset_ms += 1_000_000
    world.start()
    assert world.state == "SHUT"
    world.deliver(world.order(body, revision=world.revision))
    assert world.state == "OPEN"
    started = [record for record in world.sent_records if record.fact.verb == "agent.started"][-1]
    assert started.moment.at is None
    assert started.moment.boot == "c" * 32


def test_tunnel_when_lost_again_and_again_then_relays_take_turns_and_one_record_tells(world: World) -> None:
    """Every attempt dials the next relay; equal failures are written down once."""
    world.tunnel.failures = ["tunnel.unreachable"] * 6
    world.deliver(world.order(world.body()))
    world.move(4 * MINUTE_MS)
    assert world.state == "OPEN"
    hosts = [dial.route.host for dial in world.tunnel.dialled]
    assert hosts == [f"relay{1 + number % 2}" for number in range(7)]
    assert world.journal.verbs.count("door.failed") == 1
    assert world.runner.calls == ["order"]


def test_runner_when_busy_then_the_order_is_asked_for_again_and_obeyed(world: World) -> None:
    """A runner that failed gets the order signed again, after a wait."""
    body = world.body()
    world.runner.refusals = ["runner.busy"]
    world.deliver(world.order(body))
    assert world.asks[-1].door.state == "RETRYING"
    assert world.asks[-1].door.code == "runner.busy"
    assert world.asks[-1].door.needs_order
    world.deliver(world.order(body, revision=world.revision))
    assert world.runner.calls == ["order"]  # the wait goes on
    assert [ask.door.needs_order for ask in world.asks[-2:]] == [True, False]
    world.move(2_000)
    assert world.state == "OPEN"
    assert world.runner.calls == ["order", "order"]


def test_order_when_it_was_signed_again_before_the_runner_refused_the_first_then_that_one_is_used(world: World) -> None:
    """A command had used up its nonce, the console knew already, and told no third for half a minute."""
    world.runner.refusals = ["order.stale-nonce"]
    first = world.order(world.body(1))
    again = world.order(world.body(1), revision=world.revision)
    world.came.extend(events.MessageArrived("order", raw) for raw in (first, again))
    world.settle()
    world.move(1_000)
    assert (world.state, world.runner.calls) == ("OPEN", ["order", "order"])
    world.move(MINUTE_MS)
    assert world.runner.calls == ["order", "order"], "what was kept was used once"


def test_order_when_another_had_used_up_its_nonce_then_the_next_one_opens_without_waiting(world: World) -> None:
    """Nothing has failed, so there is nothing to wait for: a command beside it cost an opening some seconds."""
    world.runner.refusals = ["order.stale-nonce"]
    world.deliver(world.order(world.body(1)))
    assert world.asks[-1].door.needs_order
    world.deliver(world.order(world.body(1), revision=world.revision))
    assert world.state == "OPEN"


def test_runner_when_order_comes_late_then_the_attempt_goes_on_with_it(world: World) -> None:
    """The attempt waits for the order that it needs, and obeys it when it comes."""
    body = world.body()
    world.runner.refusals = ["runner.busy"]
    world.deliver(world.order(body))
    world.move(2_000)
    assert world.asks[-1].door.state == "OPENING"
    assert world.asks[-1].door.needs_order
    world.deliver(world.order(body, revision=world.revision))
    assert world.state == "OPEN"


def test_runner_when_it_refuses_the_order_itself_then_the_session_has_failed(world: World) -> None:
    """A no about the order cannot be helped by trying again: the session ends and its code is reported."""
    world.runner.refusals = ["order.unknown-key"]
    world.deliver(world.order(world.body()))
    assert world.state == "SHUT"
    assert world.asks[-1].door.code == "order.unknown-key"


def test_disk_when_full_then_the_door_opens_and_shuts_all_the_same(world: World) -> None:
    """Nobody is locked out, or in, by a full disk."""
    world.store.is_full = True
    open_door(world)
    world.deliver(world.order(ShutDoor(None)))
    assert world.state == "SHUT"


@pytest.mark.feature("E9")
def test_journal_when_no_descriptor_is_left_to_read_it_then_the_door_stays_and_its_records_are_sent_later(
    world: World,
) -> None:
    """An engineer's way in does not end for what can be told half a minute later; receipts and the usual sweep come meanwhile, too."""
    open_door(world)
    world.journal.is_readable = False
    world.tunnel.lose()
    world.deliver(world.receipt(1), "receipt")
    world.move(6 * MINUTE_MS)
    assert world.state == "OPEN"
    sent = len(world.sent_records)
    world.journal.is_readable = True
    world.move(5 * MINUTE_MS)
    assert {one.head.n for one in world.sent_records[sent:]} >= set(range(2, world.journal.head.n + 1))
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    assert world.store.durable["receipt"]["upto"] == world.journal.head.n


@pytest.mark.feature("E9")
def test_order_when_what_judges_it_cannot_be_loaded_then_it_is_asked_for_anew_and_obeyed(world: World) -> None:
    """The first order finds no descriptor left: it is not refused, for nobody has looked at it."""
    world.is_loadable, asked = False, len(world.asks)
    world.deliver(world.order(world.body()))
    assert (world.state, world.refusals, len(world.asks)) == ("SHUT", [], asked + 1)
    world.is_loadable = True
    world.deliver(world.order(world.body(), revision=world.revision))
    assert world.state == "OPEN"


@pytest.mark.feature("B4")
def test_records_when_broker_was_away_then_all_arrive_in_order_and_once_receipted_no_more(world: World) -> None:
    """Nothing is lost over a break, and what is receipted is not sent again."""
    open_door(world)
    world.broker.drop()
    world.settle()
    world.tunnel.lose()
    world.move(2 * MINUTE_MS)
    world.broker.is_up = True
    world.move(2 * MINUTE_MS)
    numbers = {record.head.n for record in world.sent_records}
    assert numbers == set(range(1, world.journal.head.n + 1))
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    sent = len(world.sent_records)
    world.broker.drop()
    world.settle()
    world.broker.is_up = True
    world.move(2 * MINUTE_MS)
    assert len(world.sent_records) == sent


@pytest.mark.feature("E9")
def test_records_when_the_worker_was_away_and_the_broker_was_not_then_they_are_sent_again_soon(world: World) -> None:
    """What the broker acknowledged and nobody stored is sent again after 20 s, then ever more rarely, until it is receipted."""
    open_door(world)
    records = len(world.sent_records)
    world.move(21_000)
    again = [record.head.n for record in world.sent_records[records:]]
    assert again == list(range(1, world.journal.head.n + 1))
    records = len(world.sent_records)
    world.move(38_000)
    assert len(world.sent_records) == records, "it did not wait longer the second time"
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    world.move(4 * MINUTE_MS)
    assert len(world.sent_records) == records, "it sent what was receipted"


@pytest.mark.feature("E9", "B6")
def test_journal_when_it_ends_before_what_was_receipted_then_the_chain_goes_on_after_it(world: World) -> None:
    """A disk that lost records which the console has: their numbers are not used again, and the record of the start says it."""
    open_door(world)
    last = world.journal.head
    world.deliver(world.receipt(last.n), "receipt")
    world.crash()
    world.journal.tear(2)
    world.start()
    started = record_from_payload(world.journal.payloads[last.n])
    assert check_link(last, started) is None
    assert started.fact.data == {"boot": world.system.boot, "lost_after": last.n - 2, "lost_upto": last.n}
    sent = len(world.sent_records)
    world.deliver(world.order(world.body(2)))
    assert world.sent_records[sent] == started, "what was written after the loss was not sent"


def test_receipt_when_it_names_another_record_then_forked_is_recorded_and_nothing_dropped(world: World) -> None:
    """A console with another history than ours is told so, once."""
    open_door(world)
    last = world.journal.head.n
    world.deliver(world.receipt(last), "receipt")
    wrong = world.receipt(2, "sha256:" + "0" * 64)
    world.deliver(wrong, "receipt")
    world.deliver(wrong, "receipt")
    assert world.journal.verbs.count("history.forked") == 1
    assert world.journal.head.n == last + 1
    world.deliver(world.receipt(2), "receipt")
    assert world.store.durable["receipt"]["upto"] == 2


@dataclass(frozen=True)
class Backup:
    """A world's disk at some moment."""

    payloads: tuple[bytes, ...]
    head: Head
    documents: dict[str, Mapping[str, Any]]

    @classmethod
    def of(cls, world: World) -> "Backup":
        return cls(tuple(world.journal.payloads), world.journal.head, dict(world.store.durable))

    def put_back(self, world: World) -> None:
        world.reboot()
        world.journal.payloads, world.journal.head = list(self.payloads), self.head
        world.store.durable = dict(self.documents)


def a_session(world: World, number: int) -> None:
    open_door(world, number)
    world.deliver(world.order(ShutDoor(None)))
    assert world.state == "SHUT"
    world.deliver(world.receipt(world.journal.head.n), "receipt")


@pytest.mark.feature("E9", "B6")
@pytest.mark.parametrize("away", [False, True], ids=["online", "with a session written down while the broker was away"])
def test_device_when_put_back_from_a_backup_then_its_history_goes_on_after_the_consoles_and_says_so(
    *, world: World, away: bool
) -> None:
    """No number is used twice, whatever the device wrote before it heard; the door opens as ever."""
    a_session(world, 1)
    backup = Backup.of(world)
    a_session(world, 2)
    taken = world.journal.head
    sent = len(world.sent_records)
    backup.put_back(world)
    world.broker.is_up = not away
    world.start()
    if away:
        for _ in range(20):
            world.crash()
            world.start()
    world.broker.is_up = True
    world.move(MINUTE_MS)
    open_door(world, 3)
    chain = list(
        {record.head: record for record in world.sent_records[sent:]}.values()
    )  # sent again, but not otherwise
    assert chain[0].fact.verb == "history.forked"
    assert chain[0].fact.data == {
        "upto": taken.n, "digest": taken.digest, "lost_after": backup.head.n, "again": 21 if away else 1,
    }  # fmt: skip
    heads = [taken, *(record.head for record in chain)]
    assert [check_link(before, after) for before, after in zip(heads, chain, strict=False)] == [None] * len(chain)
    assert [one.fact.verb for one in chain].count("agent.started") == (21 if away else 1)
    assert chain[-1].fact.verb == "door.opened"


@pytest.mark.threat("broker-replay")
def test_receipt_when_an_old_one_is_played_again_after_a_backup_was_put_back_then_no_number_is_used_twice(
    world: World,
) -> None:
    """The broker keeps receipts of the time that the device lost; none of them moves its chain back."""
    a_session(world, 1)
    backup = Backup.of(world)
    open_door(world, 2)
    old = [world.receipt(n) for n in range(1, world.journal.head.n + 1)]
    world.deliver(old[-1], "receipt")
    world.deliver(world.order(ShutDoor(None)))
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    taken = world.journal.head
    backup.put_back(world)
    world.start()
    open_door(world, 3)
    sent = len(world.sent_records)
    for raw in old[backup.head.n :]:
        world.deliver(raw, "receipt")
    world.deliver(world.order(ShutDoor(None)))
    assert all(record.head.n > taken.n for record in world.sent_records[sent:])
    assert world.journal.head.n > taken.n


def test_records_when_nobody_has_said_how_far_they_are_stored_then_none_is_signed_and_it_is_asked_for(
    world: World,
) -> None:
    """On a new connection the device hears first; a lost receipt is asked for after 20 s."""
    world.broker.drop()
    world.settle()
    world.is_receipting, world.broker.is_up = False, True
    world.move(5_000)
    open_door(world)
    assert world.sent_records == []
    asked = len(world.asks)
    world.is_receipting = True
    world.move(40_000)
    assert len(world.asks) > asked
    assert world.sent_records[-1].fact.verb == "door.opened"


def test_receipt_when_signed_by_a_stranger_then_ignored(world: World) -> None:
    """Only the project's record key can say that records are stored."""
    open_door(world)
    genuine, world.record = world.record, world.grant
    world.deliver(world.receipt(2), "receipt")
    assert "receipt" not in world.store.durable
    world.record = genuine
    world.deliver(world.receipt(2), "receipt")
    assert world.store.durable["receipt"]["upto"] == 2


def test_receipt_when_lower_than_before_then_sending_begins_there(world: World) -> None:
    """A restored console gets what it lost."""
    open_door(world)
    last = world.journal.head.n
    world.deliver(world.receipt(last), "receipt")
    sent = len(world.sent_records)
    world.deliver(world.receipt(1), "receipt")
    assert [record.head.n for record in world.sent_records[sent:]] == list(range(2, last + 1))


def test_idle_when_nothing_is_ordered_then_started_waits_unsigned(world: World) -> None:
    """An agent that only started sends asks, and its first record goes with the first order's."""
    world.move(20 * MINUTE_MS, MINUTE_MS)
    assert len(world.asks) >= 4
    assert world.sent_records == []
    open_door(world)
    assert world.sent_records[0].fact.verb == "agent.started"


def test_asks_when_counted_then_every_one_is_higher_also_after_a_restart(world: World) -> None:
    """Within a boot the counter only rises."""
    open_door(world)
    world.crash()
    world.clock.boot_ms += 10_000
    world.start()
    world.move(6 * MINUTE_MS, MINUTE_MS)
    counts = [ask.count for ask in world.asks]
    assert counts == sorted(set(counts))


def test_door_when_it_died_by_itself_then_it_is_noticed_and_opened_again(world: World) -> None:
    """A door whose sshd ended is found missing within minutes, and the order is asked for again."""
    body = world.body()
    world.deliver(world.order(body))
    world.runner.session, world.runner.port = None, 0
    world.move(6 * MINUTE_MS)
    assert world.state in {"RETRYING", "OPENING"}
    world.move(5_000)
    world.deliver(world.order(body, revision=world.revision))
    world.move(MINUTE_MS)
    assert world.state == "OPEN"
    assert world.runner.session == body.session


def test_timers_when_door_is_shut_then_only_asking_is_left(world: World) -> None:
    """A shut door leaves no timer behind once its records are receipted."""
    open_door(world)
    world.deliver(world.order(ShutDoor(None)))
    world.deliver(world.receipt(world.journal.head.n), "receipt")
    assert set(world.runtime.timers) <= {do.ASK}


@pytest.mark.threat("broker-late")
def test_order_when_kept_back_until_its_end_has_passed_by_the_devices_time_then_refused(world: World) -> None:
    """An order that was signed before the time which the device has heard since opens nothing, also while its nonce counts."""
    kept_back = world.order(world.body(2, ends_at=world.clock.boot_ms + world.console_offset_ms + 60_000), revision=9)
    world.move(2 * MINUTE_MS)
    world.deliver(world.order(ShutDoor(None)))
    world.deliver(kept_back)
    assert world.state == "SHUT"
    assert world.refusals == ["order.past-its-end"]
    assert world.runner.calls == []


@pytest.mark.feature("E9", "B9")
@pytest.mark.parametrize("ahead_ms", [6 * MINUTE_MS, 120 * MINUTE_MS, YEAR_MS])
def test_clock_when_a_consoles_was_ahead_and_is_right_again_then_its_next_order_opens(
    world: World, ahead_ms: int
) -> None:
    """The order echoes a nonce that the device made later than it says: the time that was known is none that can be true."""
    world.console_offset_ms += ahead_ms
    open_door(world)
    world.deliver(world.order(ShutDoor(None)))
    world.move(MINUTE_MS)
    world.console_offset_ms -= ahead_ms
    body = world.body(2)
    world.deliver(world.order(body))
    assert (world.state, world.refusals) == ("OPEN", [])
    world.move(59 * MINUTE_MS, MINUTE_MS)
    assert world.state == "OPEN"
    world.move(2 * MINUTE_MS)
    assert world.state == "SHUT"
    assert world.sent_records[-1].moment.at == pytest.approx(body.ends_at, abs=2 * MINUTE_MS)


def test_refusal_when_it_is_of_a_session_then_it_names_the_revision_that_was_offered(world: World) -> None:
    """By that the console knows which session has failed; another session within the minute is told, too."""
    too_long = {"duration_s": 100_000}
    world.deliver(world.order(world.body(**too_long)))
    (refused,) = world.facts("order.refused")
    assert (refused["code"], refused["part"]) == ("order.too-long", "door")
    assert (refused["offered_epoch"], refused["offered_revision"]) == (0, world.revision)
    assert (refused["held_epoch"], refused["held_revision"]) == (0, 0)
    world.deliver(world.order(world.body(2, **too_long)))
    assert [one["offered_revision"] for one in world.facts("order.refused")] == [world.revision - 1, world.revision]
