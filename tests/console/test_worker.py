"""The worker's whole way, with a real broker, a relay over real HTTPS and a device over real MQTT."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from doorward_console.history.export import lines_of
from doorward_console.history.restoring import open_epoch
from doorward_console.history.verify import verify
from doorward_console.maintenance.blocking import block
from doorward_console.maintenance.models import Desired, Order, Session
from doorward_console.maintenance.removing import remove_device
from doorward_console.people.members import Who
from doorward_protocol.asks import DoorReport
from doorward_protocol.orders import OpenDoor, ShutDoor
from doorward_protocol.revisions import Revision

from tests.console.rig import Rig, Worker, rig_at
from tests.parts.mosquitto import Broker
from tests.parts.postgres import Postgres
from tests.worlds.scripted_relay import scripted_relay


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
    assert {"relay-granted", "ordered", "answered"} <= {one["step"] for one in opened.steps}
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


@pytest.mark.real("mosquitto")
@pytest.mark.threat("broker-keeps-open")
@pytest.mark.feature("B4")
def test_door_when_broker_is_gone_after_on_then_off_closes_it_through_the_relay(rig: Rig) -> None:
    """A broker that drops everything keeps no way in open: OFF reaches the relay without it."""
    session = rig.open()
    rig.broker.stop()
    rig.off()
    closed = rig.wait_state("closed")
    assert rig.relay.ended == [session]
    assert closed.device_shut_at is None
    orders = Order.objects.filter(device=rig.house.device, part="door").order_by("asked_at")
    assert orders.last().state != Order.State.SENT


@pytest.mark.real("mosquitto")
def test_order_when_broker_comes_back_then_it_is_told_what_is_wanted_now(rig: Rig) -> None:
    """What could not be sent is not forgotten: the device asks when it is back, and is told."""
    rig.broker.stop()
    rig.wait(lambda: not rig.worker.link.is_connected(), "the loss")
    rig.on()
    rig.wait(lambda: rig.relay.count("put"), "the grant")
    rig.broker.start()
    rig.wait(rig.worker.link.is_connected, "the connection")
    rig.wait(lambda: rig.device.client is not None and rig.device.client.is_connected(), "the device's connection")
    rig.device.ask()
    order = rig.device.next_order(0)
    assert isinstance(order.body, OpenDoor)


@pytest.mark.real("mosquitto")
@pytest.mark.feature("B8")
def test_session_when_relay_refuses_the_grant_then_it_fails_with_the_relays_code_and_nothing_is_ordered(
    rig: Rig,
) -> None:
    """The relay's own reason is shown; the device hears of nothing that could open."""
    rig.relay.refuses["put"] = "grant.port-taken"
    rig.on()
    failed = rig.wait_state("failed")
    assert failed.code == "grant.port-taken"
    assert failed.steps[-1]["step"] == "relay-granted"
    assert failed.steps[-1]["code"] == "grant.port-taken"
    rig.wait(lambda: rig.relay.ended == [failed.pk], "the end at the relay")
    rig.wait(lambda: "session.failed" in rig.verbs(), "the record")
    rig.wait(lambda: Desired.objects.get(device=rig.house.device, part="door").session_id is None, "the wish to shut")
    assert all(isinstance(order.body, ShutDoor) for order in rig.device.orders)


@pytest.mark.real("mosquitto")
@pytest.mark.feature("B8")
def test_session_when_relay_cannot_be_reached_then_it_fails_and_the_relay_is_shown_as_away(rig: Rig) -> None:
    """No relay, no opening: it is said which of them cannot be reached."""
    rig.relay.stop()
    rig.on()
    failed = rig.wait_state("failed")
    assert failed.code == "relay.unreachable"
    rig.wait(lambda: rig.relay_row.code == "relay.unreachable", "the relay's code")
    rig.relay.start()
    rig.wait(lambda: rig.relay_row.code == "", "the relay's return")
    rig.wait(lambda: rig.relay.ended == [failed.pk], "the end at the relay, as soon as it is back")


@pytest.mark.real("mosquitto")
@pytest.mark.feature("E5")
def test_door_when_relay_is_away_at_off_then_it_is_closing_until_the_devices_signed_word(rig: Rig) -> None:
    """Closed is not said while nobody knows: the relay cannot be asked, so the device's record has to say it."""
    session = rig.open()
    rig.relay.stop()
    seen = len(rig.device.orders)
    rig.off()
    rig.wait(lambda: rig.session().code == "relay.unreachable", "the relay's code")
    assert rig.session().state == "closing"
    rig.device.obeys(rig.device.next_order(seen))
    rig.device.says("door.closed", session, why="session.turned-off")
    closed = rig.wait_state("closed")
    assert closed.device_shut_at is not None
    assert closed.relay_shut_at is None


@pytest.mark.real("mosquitto")
def test_door_when_something_still_listens_at_the_relay_then_it_is_not_called_closed(rig: Rig) -> None:
    """The relay says that a listener is still there: no other word makes that closed."""
    session = rig.open()
    rig.relay.refuses["end"] = "relay.not-closed"
    rig.off()
    rig.wait(lambda: rig.session().code == "relay.not-closed", "the relay's code")
    rig.device.says("door.closed", session, why="session.turned-off")
    rig.wait(lambda: rig.session().device_shut_at, "the device's word")
    assert rig.session().state == "closing"
    del rig.relay.refuses["end"]
    rig.wait_state("closed")


@pytest.mark.real("mosquitto")
def test_session_when_the_door_goes_silent_and_answers_again_then_green_goes_and_comes(rig: Rig) -> None:
    """Green is withdrawn with the relay's word and given again with the next."""
    session = rig.open()
    rig.relay.says("tunnel.down", session)
    rig.wait(lambda: rig.session().lost_at, "the loss")
    rig.relay.says("door.answered", session)
    rig.wait(lambda: rig.session().lost_at is None, "the return")
    rig.wait(lambda: rig.verbs().count("session.opened") == 2, "the records")
    assert rig.verbs().count("session.lost") == 1


@pytest.mark.real("mosquitto")
@pytest.mark.feature("B4")
@pytest.mark.threat("ends-console-alone")
def test_session_when_its_end_is_reached_then_the_console_ends_it_by_itself(rig: Rig) -> None:
    """Nobody turns it off, device and relay say nothing: the console ends it alone."""
    session = rig.open()
    seen = len(rig.device.orders)
    Session.objects.filter(pk=session).update(ends_at=timezone.now())
    closed = rig.wait_state("closed")
    assert closed.code == "session.expired"
    assert rig.relay.ended == [session]
    assert isinstance(rig.device.next_order(seen).body, ShutDoor)


@pytest.mark.real("mosquitto")
@pytest.mark.feature("I11")
def test_device_when_removed_then_each_of_its_closers_is_called_and_its_last_words_are_history(rig: Rig) -> None:
    """The relay ends the grant, the device is told to shut, and what it says of that is still stored; its asks are not heard."""
    session, seen = rig.open(), len(rig.device.orders)
    remove_device(rig.house.device, rig.house.device.name, Who(rig.house.owner, "203.0.113.7"))
    closed = rig.wait_state("closed")
    assert (closed.code, rig.relay.ended) == ("session.device-removed", [session])
    assert isinstance(rig.device.next_order(seen).body, ShutDoor)
    before = rig.device_row.ask_count
    rig.device.ask()
    rig.device.says("door.closed", session)
    rig.wait(lambda: rig.session().device_shut_at, "its records, which are still history")
    assert (rig.device_row.ask_count, rig.device_row.relay_port) == (before, None)


@pytest.mark.real("mosquitto")
def test_device_when_blocked_then_its_door_closes_and_it_is_not_heard(rig: Rig) -> None:
    """Blocking works at once and at the message level, whatever certificate the device has."""
    session = rig.open()
    block(rig.house.device, rig.house.owner, "203.0.113.7")
    closed = rig.wait_state("closed")
    assert (closed.code, rig.relay.ended) == ("session.device-blocked", [session])
    before = rig.device_row.ask_count
    rig.device.ask()
    rig.device.says("door.closed", session)
    rig.wait(lambda: rig.session().device_shut_at, "its records, which are still history")
    assert rig.device_row.ask_count == before


@pytest.mark.real("mosquitto")
def test_ask_when_its_count_is_not_higher_within_a_boot_then_it_is_ignored(rig: Rig) -> None:
    """An ask that the broker kept back or plays again does not bring old nonces back."""
    old = rig.device.ask_bytes(nonce="o" * 22)
    rig.device.ask(nonce="y" * 22)
    rig.wait(lambda: rig.device_row.nonce == "y" * 22, "the newer ask")
    rig.device.send("ask", old)
    rig.device.says("agent.started")
    rig.wait(lambda: rig.device.receipts, "the receipt of what was sent after it")
    assert rig.device_row.nonce == "y" * 22
    rig.device.boot, rig.device.count = "c" * 32, 0
    rig.device.ask(nonce="w" * 22)
    rig.wait(lambda: rig.device_row.nonce == "w" * 22, "the first ask of another boot")


@pytest.mark.real("mosquitto")
def test_device_when_it_asks_nonsense_then_the_worker_lives_on(rig: Rig) -> None:
    """Messages that are none, too large, or of absurd figures do no harm."""
    for leaf in ("ask", "record", "presence"):
        for payload in (b"", b"{", b"[]", b"\xff\xfe", b"x" * 70_000, b'{"type": "ask", "v": 1}'):
            rig.device.send(leaf, payload)
    rig.device.ask(door=DoorReport("SHUT", None, Revision(2**40, 1), None, None))
    rig.device.boot, rig.device.count = "e" * 32, 0
    rig.device.ask()
    rig.wait(lambda: rig.device_row.boot == "e" * 32, "an honest ask")


@pytest.mark.real("mosquitto")
def test_order_when_the_device_restarts_while_open_then_it_is_ordered_again_under_its_new_nonce(rig: Rig) -> None:
    """A restarted agent says that it is shut with the same revision: the same order comes again, and no second one."""
    rig.open()
    seen = len(rig.device.orders)
    rig.device.state, rig.device.session, rig.device.nonce = "SHUT", None, "q" * 22
    rig.device.ask()
    again = rig.device.next_order(seen)
    assert (again.revision, again.digest) == (rig.device.held, rig.device.digest)
    assert again.nonce == "q" * 22
    rig.device.ask()
    rig.wait(lambda: rig.device_row.ask_count == rig.device.count, "the ask that crossed")
    assert len(rig.device.orders) == seen + 1


@pytest.mark.real("mosquitto")
def test_worker_when_killed_and_started_again_then_it_goes_on_where_the_last_one_was(rig: Rig) -> None:
    """Everything is in the database: grant, order, records and receipts go on with another worker."""
    rig.worker.stop()
    rig.on()
    rig.relay.says("relay.started")
    rig.device.record("agent.started")
    rig.worker = Worker(rig.broker, rig.folder).start()
    order = rig.device.next_order(0)
    rig.device.obeys(order)
    rig.device.ask()
    rig.wait(lambda: rig.device.receipts and rig.device.receipts[-1].upto == 0, "a receipt that says what is missing")
    for envelope in rig.device.envelopes:
        rig.device.send("record", envelope)
    rig.wait(lambda: rig.device.receipts[-1].upto == 1, "the receipt")
    rig.wait(lambda: rig.relay.receipts[-1].upto == rig.relay.head.n, "the relay's receipt")


@pytest.mark.real("mosquitto")
@pytest.mark.feature("B6")
def test_history_when_exported_after_a_session_then_it_holds(rig: Rig) -> None:
    """What console, device and relay wrote of a session holds together, and each has named the others."""
    session = rig.open()
    rig.off()
    rig.wait_state("closed")
    rig.device.says("door.closed", session, why="session.turned-off")
    rig.wait(lambda: rig.session().device_shut_at, "the device's word")
    rig.on()
    rig.wait(lambda: rig.verbs().count("session.ordered") > 2, "records after it")
    report = verify(list(lines_of(rig.house.project.pk)))
    assert report.holds, report.faults
    named = {one.author: one.named_n for one in report.chains}
    assert all(named.values()), named


@pytest.mark.real("mosquitto")
@pytest.mark.threat("database-restored")
def test_console_when_restored_from_yesterday_then_a_new_epoch_makes_it_heard_again(rig: Rig) -> None:
    """Without ``restored`` the device refuses and an alarm says what to do; with it the device obeys, and history shows it."""
    rig.open()
    Desired.objects.filter(device=rig.house.device).update(revision=0)
    rig.device.says(
        "order.refused", code="order.lower-revision", part="door", held_epoch=0, held_revision=1, offered_epoch=0,
        offered_revision=0, times=1,
    )  # fmt: skip
    rig.wait(lambda: "console.alarm" in rig.verbs(), "the alarm")
    Desired.objects.filter(device=rig.house.device).update(revision=1)
    rig.device.says(
        "order.refused", code="order.lower-revision", part="door", held_epoch=0, held_revision=1, offered_epoch=0,
        offered_revision=0, times=1,
    )  # fmt: skip
    rig.device.says("agent.started")
    rig.wait(lambda: "agent.started" in rig.verbs(rig.device_author), "what came after it")
    assert rig.verbs().count("console.alarm") == 1, "a late order is no reason for an alarm"
    seen = len(rig.device.orders)
    assert open_epoch(rig.house.project.pk, "root") == 1
    rig.device.ask()
    order = rig.device.next_order(seen)
    assert order.revision > rig.device.held
    assert order.revision.epoch == 1
    rig.wait(lambda: "console.restored" in rig.verbs(), "the record")
    report = verify(list(lines_of(rig.house.project.pk)))
    assert report.holds, report.faults
    assert [one.epoch for one in report.restores] == [1]


@pytest.mark.real("mosquitto", "postgres")
def test_worker_when_the_database_breaks_off_then_it_goes_on_when_it_is_back(
    on_postgres: str,
    postgres_cluster: Postgres,
    django_db_blocker: Any,
    broker: Broker,
    scratch: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every connection of the console is cut in the middle of an opening; nothing has to be started again."""
    with django_db_blocker.unblock(), scripted_relay(scratch) as relay, rig_at(broker, relay, scratch) as rig:
        rig.on()
        rig.device.next_order(0)
        session = rig.session().pk
        connections["default"].close()
        postgres_cluster.sql('ALTER DATABASE "doorward" ALLOW_CONNECTIONS false')
        postgres_cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'doorward'")
        complaint = ("doorward.worker", logging.ERROR, "the database does not answer")
        rig.wait(lambda: complaint in caplog.record_tuples, "the worker's complaint")
        postgres_cluster.sql('ALTER DATABASE "doorward" ALLOW_CONNECTIONS true')
        rig.relay.says("door.answered", session, rig.device.device, ms=3)
        rig.wait_state("open")
        rig.off()
        rig.wait_state("closed")


@pytest.mark.real("mosquitto", "postgres")
@pytest.mark.feature("E3")
def test_door_when_the_database_is_postgresql_then_it_opens_and_closes_as_well(
    on_postgres: str, django_db_blocker: Any, broker: Broker, scratch: Path
) -> None:
    """The same whole way, with NOTIFY as the doorbell and rows that are really locked."""
    with django_db_blocker.unblock(), scripted_relay(scratch) as relay, rig_at(broker, relay, scratch) as rig:
        rig.device.ask(door=DoorReport("SHUT", None, Revision(2**40, 1), None, None))  # more than its integers hold
        session = rig.open()
        rig.off()
        rig.wait_state("closed")
        rig.device.says("door.closed", session, why="session.turned-off")
        rig.wait(lambda: rig.session().device_shut_at, "the device's word")
        report = verify(list(lines_of(rig.house.project.pk)))
        assert report.holds, report.faults
