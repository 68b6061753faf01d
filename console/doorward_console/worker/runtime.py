"""The worker's one owner of decisions: takes what the threads report, stores it, and carries out what is due.

State is in the database and nowhere else; what is kept here (what is under way, when to try again) may be lost at any
moment. Each round looks at what is due as if it were the first: grants go before the orders that need them, ends go at once.
The console's own records are in the database since what they tell was decided; they are chained when it is quiet.
"""

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from django.conf import settings
from django.db import OperationalError, close_old_connections, transaction
from django.utils import timezone

from doorward_console.fleet import relays
from doorward_console.history import own
from doorward_console.keys.making import WORKER_KINDS, ensure_worker_keys, projects_without
from doorward_console.keys.opening import WorkerKeys
from doorward_console.maintenance import closing, grants, orders, probes, sessions
from doorward_console.maintenance.commands import hearing as commands
from doorward_console.maintenance.commands import wishes
from doorward_console.times import ms_from_time
from doorward_console.worker import hearing
from doorward_console.worker.events import (
    BrokerJoined,
    BrokerLost,
    DoorProbed,
    Event,
    GrantEnded,
    GrantPut,
    MessageCame,
    RecordsCame,
    RelayFailed,
    RelayReconciled,
    RelayVersion,
    Rung,
    SendReceipt,
)
from doorward_console.worker.pauses import Pauses
from doorward_console.worker.prober import Prober
from doorward_console.worker.rates import Allowances
from doorward_console.worker.relay_links import RelayLinks

LOG: Final = logging.getLogger("doorward.worker")
MOST_HEARD_AGAIN: Final = 5_000
"""Events kept while the database is away; the oldest of more are lost and sent again by those who sent them."""
BATCH: Final = 200
"""Events taken together: records of one device in a batch are stored in one transaction and receipted once."""
POLL_S: Final = 1.0
"""How long a ring that was lost can delay anything, and how exact the ends of sessions are."""
SOON_S: Final = 0.1
"""What devices and relays say makes nothing due that somebody waits for: what it asks of the signer comes back as a ring, and an
order leaves with its grant's answer. For all that comes within so long everything is looked at once."""
_CAN_WAIT: Final = (MessageCame, RecordsCame, GrantPut)
QUIET_S: Final = 0.1
"""Chaining holds SQLite's one write lock for 10 ms, and whoever waits for that lock looks again only every few ms: it comes
when nothing has been asked for this long, or once in ``POLL_S``."""
RECONCILE_S: Final = 30.0
DATABASE_PAUSE_S: Final = 1.0
"""After the database failed to answer: it is being restarted, or another writer holds SQLite's lock too long."""


class Publisher(Protocol):
    """The broker, as far as the runtime needs it."""

    def publish(self, device: str, leaf: str, payload: bytes) -> bool: ...


class Runtime:
    """Takes events from the links' queue and acts on them until told to stop."""

    def __init__(
        self, keys: WorkerKeys, broker: Publisher, links: RelayLinks, clock: Callable[[], datetime] = timezone.now
    ) -> None:
        """Start with nothing known: everything is read from the database; ``clock`` says what time it is."""
        self._keys, self._clock = keys, clock
        self._broker = broker
        self._links = links
        self._allowances = Allowances()
        self._prober = Prober(links.tell)
        self._puts, self._ends = Pauses(), Pauses()
        self._stopping = False
        self._next_second = self._next_reconcile = self._chain_by = self._look_by = 0.0
        self._is_chained = False
        self._nightly, self._asked_nightly = settings.CONFIG.nightly_rehearsals, clock()

    def stop(self) -> None:
        """End after the round under way; may be called from a signal handler."""
        self._stopping = True

    def run(self, turn: Callable[[], object] = lambda: None) -> None:
        """Work until stopped, with a ``turn`` before each round; what was being heard when the database failed is heard again."""
        batch: list[Event] = []
        while not self._stopping:
            turn()
            batch = [*batch, *self._take_batch()][-MOST_HEARD_AGAIN:]
            close_old_connections()
            try:
                self.hear(batch)
                self.round(batch)
                batch = []
            except OperationalError:
                LOG.exception("the database does not answer")
                closing.make_room(self._clock())
                self._begin_again()
        self._prober.stop()

    def _begin_again(self) -> None:
        """Forget what was under way and look at everything anew."""
        time.sleep(DATABASE_PAUSE_S)
        self._look_by = 0.0
        self._puts.forget_all()
        self._ends.forget_all()
        self._links.nudge()

    def hear(self, batch: list[Event]) -> None:
        """Take events in their order; records together and then asks together, unless the presence of one that asked follows."""
        now = self._clock()
        records: dict[str, list[bytes]] = {}
        asked: dict[str, list[bytes]] = {}
        for event in batch:
            if isinstance(event, MessageCame) and not self._is_allowed(event, now):
                if event.leaf == "ask":
                    self._allowances.keep_ask(event.device, event.payload)
                continue
            if isinstance(event, MessageCame) and event.leaf == "record":
                records.setdefault(event.device, []).append(event.payload)
            elif isinstance(event, MessageCame) and event.leaf == "ask":
                asked.setdefault(event.device, []).append(event.payload)
            else:
                if isinstance(event, MessageCame) and event.device in asked:
                    self._hear_said(records, asked, now)
                    records, asked = {}, {}
                self._handle(event, now)
        self._hear_said(records, asked, now)

    def round(self, heard: Sequence[Event]) -> None:
        """Do what is due after what was heard, and chain what was written, when it is quiet; within ``POLL_S`` of such a look nothing new is due in a quiet one."""
        at, is_quiet = time.monotonic(), not heard
        if not is_quiet:
            can_wait = all(isinstance(event, _CAN_WAIT) for event in heard)
            self._look_by = min(self._look_by, at + SOON_S if can_wait else at)
        if at >= self._look_by:
            self._look_by = at + POLL_S
            self._do_what_is_due()
        if self._is_chained and not is_quiet:
            self._chain_by = time.monotonic() + POLL_S
        self._is_chained = is_quiet or time.monotonic() >= self._chain_by
        if self._is_chained:
            own.chain_pending(self._keys)

    def _do_what_is_due(self) -> None:
        """Look at everything, whoever brought it about: first what somebody waits for."""
        now = self._clock()
        self._links.follow(relays.paired_now())
        self._each_second(now)
        self._end_grants(now)
        self._put_grants(now)
        orders.send_signed(self._publish_order, now)
        commands.send_commands(self._publish_order, now)
        self._prober.follow(probes.to_probe())
        for project in projects_without(WORKER_KINDS):
            ensure_worker_keys(project, self._keys.wrapping)

    def _take_batch(self) -> list[Event]:
        events, batch = self._links.events, list[Event]()
        try:
            batch.append(events.get(timeout=POLL_S if self._is_chained else QUIET_S))
            while len(batch) < BATCH:
                batch.append(events.get_nowait())
        except queue.Empty:
            return batch
        return batch

    def _is_allowed(self, event: MessageCame, now: datetime) -> bool:
        return self._allowances.is_allowed(event.device, event.leaf, ms_from_time(now))

    def _handle(self, event: Event, now: datetime) -> None:  # one line for each event
        match event:
            case MessageCame(device, _, payload):
                hearing.hear_presence(device, payload, now)
            case GrantPut(put, code):
                self._hear_put(put, code, now)
            case GrantEnded(end, code):
                self._hear_end(end, code, now)
            case RelayReconciled(reconcile, answer):
                relays.was_seen(reconcile.relay, None, now)
                grants.were_missing(reconcile.relay, answer.missing, now)
            case RecordsCame(relay, page):
                hearing.hear_page(relay, page, self._keys, self._receipt_to_relay(relay), now)
                self._links.wait_for_records(relay)
            case RelayVersion(relay, version):
                relays.has_version(relay, version)
            case RelayFailed(relay, code):
                relays.was_away(relay, code)
            case DoorProbed(session, code):
                probes.was_probed(session, code, now)
            case Rung() | BrokerJoined() | BrokerLost():
                pass  # the round looks at everything

    def _hear_said(
        self, records: Mapping[str, Sequence[bytes]], asked: Mapping[str, Sequence[bytes]], now: datetime
    ) -> None:
        """Take records before asks: an ask names the last record that was sent before it, and would else seem to lack it here."""
        if records:
            hearing.hear_devices(records, self._keys, self._receipt_to, now)
        self._hear_asks(asked, now)

    def _hear_asks(self, asked: Mapping[str, Sequence[bytes]], now: datetime) -> None:
        if not asked:
            return
        behind = [f"device:{device}" for device, _ in hearing.hear_asks(asked, now)]
        hearing.send_receipts(behind, self._keys, self._receipt_to, now)

    def _hear_put(self, put: grants.ToPut, code: str | None, now: datetime) -> None:
        self._puts.forget(_name_of(put))
        if put.is_rehearsal:
            commands.hear_put(put.grant, code, now)
        elif code is None:
            relays.was_seen(put.relay, None, now)
            with transaction.atomic():  # the order that waited for it leaves before the disk is waited for
                grants.was_put(put.grant, now)
                orders.send_signed(self._publish_order, now, put.session)
        else:
            grants.was_not_put(put.grant, code, now)

    def _hear_end(self, end: grants.ToEnd, code: str | None, now: datetime) -> None:
        if code is None:
            self._ends.forget((end.relay, end.session))
            relays.was_seen(end.relay, None, now)
            grants.was_ended(end.relay, end.session, now)
        else:
            self._ends.failed((end.relay, end.session), ms_from_time(now))
            grants.was_not_ended(end.session, code, now)

    def _put_grants(self, now: datetime) -> None:
        for put in grants.to_put():
            if self._puts.begin(_name_of(put), ms_from_time(now)) and not self._links.call(put.relay, put):
                self._hear_put(put, "relay.not-paired", now)

    def _end_grants(self, now: datetime) -> None:
        for end in grants.to_end(now):
            name = (end.relay, end.session)
            if self._ends.begin(name, ms_from_time(now)) and not self._links.call(end.relay, end):
                self._hear_end(end, "relay.not-paired", now)
        grants.without_grants(now)

    def _each_second(self, now: datetime) -> None:
        at = time.monotonic()
        if at >= self._next_second:
            self._next_second = at + POLL_S
            late = self._allowances.late_asks(ms_from_time(now))
            self._hear_asks({device: [payload] for device, payload in late.items()}, now)
            sessions.apply_time(now)
            commands.apply_time(now)
            orders.ask_where_due(now)
            self._ask_for_rehearsals(now)
        if at >= self._next_reconcile:
            self._next_reconcile = at + RECONCILE_S
            closing.keep_room(now)
            for relay in self._links.relays():
                self._links.call(relay, grants.to_reconcile(relay))

    def _ask_for_rehearsals(self, now: datetime) -> None:
        wishes.ask_on_trial(now)
        if self._nightly:
            wishes.ask_nightly(self._asked_nightly, now)
            self._asked_nightly = now

    def _publish_order(self, device: str, envelope: bytes) -> bool:
        return self._broker.publish(device, "order", envelope)

    def _receipt_to(self, device: str) -> hearing.Send:
        return lambda receipt: self._broker.publish(device, "receipt", receipt)

    def _receipt_to_relay(self, relay: str) -> hearing.Send:
        return lambda receipt: self._links.call(relay, SendReceipt(receipt))


def _name_of(put: grants.ToPut) -> tuple[bool, int]:
    return put.is_rehearsal, put.grant
