"""What comes from devices and relays, into the database: each message in transactions of its own.

A message that cannot be read or stored is dropped with one line in the log and does no harm: whoever sent it, the worker
lives on. Whatever else goes wrong is our fault or the database's and ends the worker; it is started again and finds
everything as it was.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from django.db import DataError, transaction
from doorward_protocol import fields
from doorward_protocol.asks import Ask, ask_from_bytes
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId
from doorward_protocol.orders import UnknownVersion

from doorward_console.edges.relay_client import Page
from doorward_console.fleet import asks, relays
from doorward_console.history import inbox
from doorward_console.history.models import Chain
from doorward_console.history.own import RecordKeys
from doorward_console.maintenance import forwards, orders, sessions
from doorward_console.maintenance.commands import hearing as commands
from doorward_console.maintenance.commands import wishes

LOG: Final = logging.getLogger("doorward.worker")

Send = Callable[[bytes], object]


Behind = tuple[str, str]
"""A device and the project whose history lacks records that it spoke of."""


def hear_asks(messages: Mapping[str, Sequence[bytes]], now: datetime) -> tuple[Behind, ...]:
    """Take asks, by the device on whose topic they came, and ask the signer for what devices have to be told.

    All are stored together; where the database refuses a value each is taken alone, so that the fault stays its sender's.
    Gives the devices whose history lags: a receipt makes each send what is missing.
    """
    came = ((device, payload) for device, payloads in messages.items() for payload in payloads)
    last = asks.newest(ask for device, payload in came if (ask := _read_ask(device, payload)) is not None)
    try:
        heard = asks.take_asks(last, now)
    except (DataError, ValueError):
        heard = frozenset[DeviceId]().union(*(_take_alone(ask, now) for ask in last.values()))
    commands.hear_taken(heard, now)
    wishes.hear(((ask.device, ask.wish) for ask in last.values() if ask.device in heard and ask.wish), now)
    wishes.read_settings(heard, now)
    orders.ask_where_due_of(heard, now)
    return _behind([last[device] for device in heard])


def _read_ask(device: str, payload: bytes) -> Ask | None:
    try:
        ask = ask_from_bytes(payload)
    except (Malformed, UnknownVersion) as error:
        LOG.warning("ask dropped device=%s why=%s", device, type(error).__name__)
        return None
    return ask if ask.device == device else None


def _take_alone(ask: Ask, now: datetime) -> frozenset[DeviceId]:
    try:
        return asks.take_asks({ask.device: ask}, now)
    except (DataError, ValueError) as error:
        LOG.warning("ask dropped device=%s why=%s", ask.device, type(error).__name__)
        return frozenset()


def _behind(heard: Sequence[Ask]) -> tuple[Behind, ...]:
    """Name those whose journal does not end with what is stored, whatever the reason: each waits for a receipt before it sends."""
    told = {f"device:{ask.device}": (ask.journal.n, ask.journal.digest) for ask in heard}
    chains = Chain.objects.filter(author__in=told).values_list("author", "n", "digest", "project_id")
    return tuple((author.removeprefix("device:"), of) for author, *head, of in chains if tuple(head) != told[author])


def hear_presence(device: str, payload: bytes, now: datetime) -> None:
    """Take a device's presence, or its Last Will."""
    try:
        state = fields.text(fields.object_from_json(payload), "state", longest=10)
    except Malformed:
        return
    if state in {"connected", "away"}:
        asks.take_presence(device, state, now)


def hear_records(author: str, messages: Sequence[bytes], keys: RecordKeys, send: Send, now: datetime) -> int:
    """Store records, apply what they say, and, once that is committed, send the receipt; gives how many joined."""
    with transaction.atomic():
        taken = inbox.take(author, messages, now)
        if taken.project is not None:
            sessions.hear_records(taken.project, taken.joined, now)
            commands.hear_records(author, taken.joined, now)
            forwards.hear_records(author, taken.joined, now)
    if taken.dropped:
        LOG.warning("records dropped author=%s why=%s", author, ",".join(sorted(set(taken.dropped))))
    if taken.project is not None and len(taken.dropped) < len(messages):
        send_receipt(author, taken.project, keys, send, now)
    return len(taken.joined)


def hear_devices(
    came: Mapping[str, Sequence[bytes]], keys: RecordKeys, receipt_to: Callable[[str], Send], now: datetime
) -> None:
    """Take records by the device on whose topic they came: what only tells of commands all together, everything else device by device.

    Where the database refuses a value each device is taken alone, so that the fault stays its sender's.
    """
    of = {f"device:{device}": messages for device, messages in came.items()}
    taken: Mapping[str, object] = {}
    try:
        with transaction.atomic():
            joined = inbox.take_together(of, commands.is_plain, now)
            commands.hear_together(joined, now)
        taken = joined
    except (DataError, ValueError):
        LOG.warning("records are taken device by device: the database refuses a value")
    send_receipts(taken, keys, receipt_to, now)
    for author, messages in of.items():
        if author not in taken:
            _hear_alone(author, messages, keys, receipt_to(author.removeprefix("device:")), now)


def _hear_alone(author: str, messages: Sequence[bytes], keys: RecordKeys, send: Send, now: datetime) -> None:
    try:
        hear_records(author, messages, keys, send, now)
    except (DataError, ValueError) as error:
        LOG.warning("records dropped author=%s why=%s", author, type(error).__name__)


def send_receipts(authors: Iterable[str], keys: RecordKeys, receipt_to: Callable[[str], Send], now: datetime) -> None:
    """Sign and send how far these devices' records are stored."""
    for author, receipt in inbox.receipts_for(authors, keys, now).items():
        receipt_to(author.removeprefix("device:"))(receipt)


def send_receipt(author: str, project: str, keys: RecordKeys, send: Send, now: datetime) -> None:
    """Sign and send how far an author's records are stored."""
    receipt = inbox.receipt_for(author, keys.record_key(project), now)
    if receipt is not None:
        send(receipt)


def hear_page(relay: str, page: Page, keys: RecordKeys, send: Send, now: datetime) -> None:
    """Take one page of a relay's records."""
    relays.was_seen(relay, page.clock_at, now)
    if page.records:
        hear_records(f"relay:{relay}", page.records, keys, send, now)


def relay_head(relay: str) -> int:
    """Name the last record of a relay that is stored without a gap."""
    return Chain.objects.filter(author=f"relay:{relay}").values_list("n", flat=True).first() or 0
