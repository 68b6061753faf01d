"""Orders that were accepted: what is held, what has ended, what time it is, when a session ends.

Part of ``runtime`` and called on its thread alone: it joins the pure ``holdings``, ``timeline`` and the judge with clock and
store. What was accepted is on the disk before anything is done about it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doorward_protocol.commands import RunCommand
from doorward_protocol.ids import OrderId, SessionId
from doorward_protocol.orders import ApplySettings, ConfirmSettings, OpenDoor, Order, ShutDoor
from doorward_protocol.records import Moment
from doorward_protocol.revisions import Revision

from doorward_agent import holdings, policy, timeline
from doorward_agent.contracts import Clock, Store
from doorward_agent.holdings import Holdings
from doorward_agent.signing import Signing

if TYPE_CHECKING:
    from doorward_protocol.admission import Refused, Verified

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no: its reason code, and what of the order could be trusted enough to name.

    Attributes:
        offered: the revision that it carried, by which the console finds the session that was refused.
        held: the one that this device holds of that part.
    """

    code: str
    order: OrderId | None = None
    part: str | None = None
    offered: Revision | None = None
    held: Revision | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Give what the history keeps of it besides the code (protocol.md §4)."""
        offered, held = self.offered or (None, None), self.held or (None, None)
        return {
            "order": self.order,
            "part": self.part,
            "held_epoch": held[0],
            "held_revision": held[1],
            "offered_epoch": offered[0],
            "offered_revision": offered[1],
        }


class Orders:
    """What this device has been told and took."""

    def __init__(self, signing: Signing, store: Store, clock: Clock, boot: str) -> None:
        self._signing = signing
        self._store = store
        self._clock = clock
        self._boot = boot
        self._holdings = holdings.holdings_from_document(store.load("holdings"))
        self._timeline = timeline.timeline_from_document(store.load("time"), boot)

    @property
    def holdings(self) -> Holdings:
        return self._holdings

    @property
    def moment(self) -> Moment:
        """Say now, for the history."""
        return self._timeline.moment(self._clock.boottime_ms())

    def judged(self, raw: bytes, nonces: Mapping[str, int]) -> "Verified | Refusal":
        """Answer whether an order may be obeyed; rubbish is refused without loading the signature library.

        ``nonces`` are those that count, with when each was made.
        """
        code = self._signing.rubbish(raw)
        if code is not None:
            return Refusal(code)
        from doorward_protocol.admission import Refused

        answer = self._signing.judge(raw, tuple(nonces), self._holdings)
        if isinstance(answer, Refused):
            return self._refusal(answer)
        if self._is_over(answer.order, nonces):
            over = answer.order
            return self._refusal(Refused("order.past-its-end", over.id, over.revision, over.part))
        return answer

    def _refusal(self, refused: "Refused") -> Refusal:
        part = refused.part
        held = None if part is None else self._holdings.part(part)[0]
        return Refusal(refused.code, refused.order, part, refused.offered, held)

    def take(self, verified: "Verified", nonces: Mapping[str, int]) -> None:
        """Take an accepted order's time, and write down what it makes of the counters."""
        order = verified.order
        heard = self._heard(order, nonces)
        if heard != self._timeline:
            self._timeline = heard
            self.save("time", timeline.document_from_timeline(heard), durable=False)
        if verified.is_repeat:
            return
        kept = holdings.accepted(self._holdings, order.part, order.revision, order.digest)
        if isinstance(order.body, ShutDoor) and order.body.session is not None:
            kept = holdings.ended(kept, order.body.session)
        if isinstance(order.body, ApplySettings):
            kept = holdings.with_settings(kept, order.body.values)
        self._keep(kept)

    def end(self, session: SessionId) -> None:
        """Write down that a session has ended and never opens again."""
        self._keep(holdings.ended(self._holdings, session))

    def deadline_ms(self, order: Order, body: OpenDoor) -> int:
        """Give the session's end; the same revision accepted again, also after a restart, moves nothing."""
        known = self._store.load("session") or {}
        mark = {"boot": self._boot, "session": body.session, "revision": list(order.revision)}
        if {name: known.get(name) for name in mark} == mark:
            return int(known["deadline_ms"])
        now_ms = self._clock.boottime_ms()
        offset_ms = self._timeline.offset_ms
        deadline_ms = policy.deadline_of(body, now_ms, order.issued_at - now_ms if offset_ms is None else offset_ms)
        self.save("session", {**mark, "deadline_ms": deadline_ms}, durable=False)
        return deadline_ms

    def known_deadline_ms(self, session: SessionId) -> int | None:
        """Give the end that an earlier agent of this boot wrote down, or None."""
        known = self._store.load("session") or {}
        is_it = known.get("boot") == self._boot and known.get("session") == session
        return int(known["deadline_ms"]) if is_it else None

    def load(self, name: str) -> Mapping[str, Any] | None:
        """Read a document that an earlier agent kept."""
        return self._store.load(name)

    def save(self, name: str, document: Mapping[str, Any], *, durable: bool) -> None:
        """Keep a document; a full disk stops no door: what is in memory counts until the next one is kept."""
        try:
            self._store.save(name, document, durable=durable)
        except OSError as error:
            _log.error("document not kept name=%s error=%s", name, error)

    def _is_over(self, order: Order, nonces: Mapping[str, int]) -> bool:
        """Tell whether the order's session has ended by this device's time, which may be ahead of the order's own."""
        told_ms = self._heard(order, nonces).console_ms(self._clock.boottime_ms())
        match order.body:
            case OpenDoor(ends_at=over_at) | RunCommand(expires_at=over_at):
                return told_ms is not None and over_at <= told_ms
            case _:
                return False

    def _keep(self, kept: Holdings) -> None:
        self._holdings = kept
        self.save("holdings", holdings.document_from_holdings(kept), durable=True)

    def _heard(self, order: Order, nonces: Mapping[str, int]) -> timeline.Timeline:
        return timeline.heard(self._timeline, order.issued_at, self._clock.boottime_ms(), nonces[order.nonce])


def session_of(order: Order) -> str | None:
    """Name the session that an order is about."""
    return order.body.session if isinstance(order.body, OpenDoor | ShutDoor) else None


def facts_of(order: Order) -> Mapping[str, Any]:
    """Give what the history keeps of an accepted order: who wanted what, and why."""
    facts: dict[str, Any] = {
        "order": order.id,
        "part": order.part,
        "epoch": order.revision.epoch,
        "revision": order.revision.number,
        "digest": order.digest,
    }
    match order.body:
        case OpenDoor(asked=asked, ends_at=ends_at):
            said = {"by": asked.by, "at": asked.at, "reason": asked.reason}
            return {**facts, "state": "open", "ends_at": ends_at, "asked": said}
        case ShutDoor():
            return {**facts, "state": "shut"}
        case ApplySettings() | ConfirmSettings():
            return facts
        case RunCommand(command=command, verb=verb, asked=asked):
            said = {"by": asked.by, "at": asked.at, "reason": asked.reason}
            return {**facts, "command": command, "verb": verb, "asked": said}
