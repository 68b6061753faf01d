"""What the runner promised last, and what an order makes of it: times and revisions, pure.

The device needs no clock (protocol.md §4, "Time"): an accepted order's ``issued_at`` is taken as the time at the
boot-time clock's reading, and a session's end becomes a reading of that clock. Within a boot that time moves back only
where it cannot be true (ADR 25), so an order that was held back can only keep or shorten what was first promised; one of a
higher revision may change it. Neither goes past the order's duration, nor past the longest session that this device
allows, both counted from the session's first acceptance.
"""

from typing import NamedTuple

from doorward_protocol.digests import Digest
from doorward_protocol.ids import SessionId
from doorward_protocol.orders import OpenDoor, Order
from doorward_protocol.revisions import NEVER, Revision


class Moment(NamedTuple):
    """A reading of the boot-time clock: which boot, and how far into it.

    Attributes:
        nonce_s: a reading at or before which the nonce of the order at hand was made; 0 where only the boot is known.
    """

    boot: str
    uptime_s: float
    nonce_s: float = 0.0


class Promise(NamedTuple):
    """The last accepted door order, as it is written down.

    Attributes:
        session: the one that was opened last; None after an order that shut.
        boot: the boot in which it was accepted; the readings below count within it alone.
        accepted_s: boot-time clock at the session's first acceptance.
        ends_s: boot-time clock at the session's end.
        console_ahead_ms: console time less boot-time clock, the highest heard in this boot that may be true.
    """

    revision: Revision = NEVER
    digest: Digest | None = None
    session: SessionId | None = None
    boot: str = ""
    accepted_s: float = 0.0
    ends_s: float = 0.0
    console_ahead_ms: int = 0

    def is_over(self, now: Moment) -> bool:
        """Tell whether the promised session has reached its end; another boot's end cannot be told."""
        return self.session is not None and self.boot == now.boot and self.ends_s <= now.uptime_s


def shut_promise(order: Order, last: Promise, now: Moment) -> Promise:
    """Give what is written down once ``order``, which shuts, is accepted."""
    return Promise(order.revision, order.digest, None, now.boot, 0.0, 0.0, _console_ahead_ms(order, last, now))


def open_promise(order: Order, door: OpenDoor, last: Promise, now: Moment, longest_s: int) -> Promise | None:
    """Give what is written down once ``order`` is accepted; None when its end has passed by the device's own clock."""
    ahead_ms = _console_ahead_ms(order, last, now)
    goes_on = last.session == door.session and last.boot == now.boot
    accepted_s = last.accepted_s if goes_on else now.uptime_s
    ends_s = min((door.ends_at - ahead_ms) / 1000, accepted_s + min(door.duration_s, longest_s))
    if ends_s <= now.uptime_s:
        return None
    return Promise(order.revision, order.digest, door.session, now.boot, accepted_s, ends_s, ahead_ms)


def _console_ahead_ms(order: Order, last: Promise, now: Moment) -> int:
    heard_ms = order.issued_at - int(now.uptime_s * 1000)
    # It was signed after its nonce was made: a later time than this gives is no time that the console had, but a wrong one.
    may_be = last.boot == now.boot and last.console_ahead_ms <= order.issued_at - int(now.nonce_s * 1000)
    return max(heard_ms, last.console_ahead_ms) if may_be else heard_ms
