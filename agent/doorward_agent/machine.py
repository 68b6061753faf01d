"""The two machines: what the door and the link do about each event, as effects.

``states`` holds the tables, this module what a cell's action means. Nothing here touches the world: ``step`` takes an
event, the boot-time clock's reading and a random number, and returns the effects in the order in which they are to be
performed. Records stand before the acts that they announce. Callbacks only replace the session's data and append
effects, so they cannot fail. The halves of an opening, the runner's door and the tunnel, start together; the relay is
asked for its port once the door answers, so that whoever finds the port open finds the door behind it.
"""

from dataclasses import replace
from typing import Any, Final

from transitions import Machine

from doorward_agent import effects as do
from doorward_agent import policy
from doorward_agent.effects import Effect
from doorward_agent.events import (
    DoorClosed,
    DoorEvent,
    DoorFailed,
    DoorFound,
    DoorGone,
    DoorNotClosed,
    DoorOpened,
    ForwardTold,
    Ordered,
    OrderedShut,
    TimerDue,
    TunnelEnded,
    TunnelFailed,
    TunnelOpened,
)
from doorward_agent.policy import Session
from doorward_agent.states import DOOR_TABLE, DoorState, LinkState
from doorward_agent.tables import answers_from_table
from doorward_agent.triggers import door_trigger

DoorEnd = DoorClosed | TunnelEnded


def built(model: object, states: type[DoorState | LinkState], table: str, initial: str) -> Machine:
    """Build the machine of a table; its actions are the model's methods of that name, with an underscore."""
    rows = [
        {
            "trigger": answer.trigger,
            "source": answer.source,
            "dest": answer.target,
            "before": None if answer.action is None else f"_{answer.action}",
            "conditions": None if answer.guard is None else f"_{answer.guard}",
        }
        for answer in answers_from_table(table)
    ]
    return Machine(model, states=states, transitions=rows, initial=states[initial], auto_transitions=False)


class DoorMachine:
    """The door. ``state`` and ``session`` are read by whoever reports; only ``step`` changes them."""

    state: DoorState

    def __init__(self) -> None:
        self.session: Session | None = None
        self.last_code: str | None = None
        self._next: Ordered | None = None
        self._effects: list[Effect] = []
        self._now_ms = 0
        self._chance = 0.0
        self._machine: Final = built(self, DoorState, DOOR_TABLE, "SHUT")

    def step(self, event: DoorEvent, now_ms: int, chance: float) -> tuple[Effect, ...]:
        """Answer an event with effects; one that is about an attempt given up has none."""
        self._effects, self._now_ms, self._chance = [], now_ms, chance
        if (
            isinstance(event, OrderedShut)
            and self._next is not None
            and event.session in (None, self._next.order.session)
        ):
            self._next = None
        trigger = door_trigger(event, self.session)
        if trigger is not None:
            if isinstance(event, DoorOpened | DoorFailed) and self.session is not None:
                self.session = replace(self.session, calls=max(0, self.session.calls - 1))
            self._machine.dispatch(trigger, event)
        if self.state is DoorState.SHUT and self._next is not None:
            waiting, self._next = self._next, None
            self._machine.dispatch("ordered", waiting)
        return tuple(self._effects)

    # Orders

    def _begin(self, event: Ordered) -> None:
        self.last_code = None
        self._take(Session(event.order.session), event)
        self._attempt()

    def _renew(self, event: Ordered) -> None:
        """Take over what the newer order says; tell the runner, unless an attempt is going to."""
        lacking = policy.needs_order(self._at_hand)
        if event.is_repeat and not lacking:
            self._keep_spare(event.envelope)
            return
        self._take(self._at_hand, event)
        if self.state is DoorState.OPENING and lacking:
            self._attempt()
        elif lacking and self._at_hand.code == policy.STALE:
            self._do(do.StartTimer(do.DOOR_RETRY, self._now_ms))  # nothing has failed: no reason to wait
        elif not event.is_repeat and (self.state is DoorState.OPENING or self._at_hand.door_port is not None):
            self._call_runner()

    def _keep_spare(self, envelope: bytes) -> None:
        """Keep an order that was signed again before the earlier one was judged: the console sends no third for half a minute."""
        session = self._at_hand
        if session.envelope is not None:
            self.session = replace(session, envelope=envelope)
        elif session.door_port is None:
            self.session = replace(session, spare=envelope)

    def _take(self, session: Session, event: Ordered) -> None:
        self.session = replace(
            session,
            order=event.order,
            envelope=event.envelope,
            spare=None,
            port=session.door_port or event.port,
            deadline_ms=event.deadline_ms,
        )
        self._do(do.StartTimer(do.DOOR_END, event.deadline_ms))

    def _give_way(self, event: Ordered) -> None:
        self._keep_next(event)
        self._close("session.turned-off")

    def _keep_next(self, event: Ordered) -> None:
        """Let another session's order wait until the door is shut."""
        self._next = event

    def _turn_off(self, _event: OrderedShut) -> None:
        self._close("session.turned-off")

    def _expire(self, _event: TimerDue) -> None:
        self._close("session.expired")

    # The runner's half

    def _adopt(self, event: DoorFound) -> None:
        """After a restart: the door is there, the tunnel is not, and only the console can say whether it is wanted."""
        self.session = Session(
            event.session,
            door_port=event.port,
            port=event.port,
            deadline_ms=event.deadline_ms,
            facts=event.facts,
        )
        if event.deadline_ms is not None:
            self._do(do.StartTimer(do.DOOR_END, event.deadline_ms))
        self._do(do.StartTimer(do.DOOR_RETRY, self._now_ms))

    def _use_door(self, event: DoorOpened) -> None:
        self._note_door(event)
        self._do(do.ForwardTunnel(self._at_hand.attempt, event.port))

    def _note_door(self, event: DoorOpened) -> None:
        self.session = replace(self._at_hand, door_port=event.port, port=event.port, facts=event.facts, spare=None)

    def _close_stray(self, event: DoorOpened) -> None:
        self._do(do.CloseDoor(event.session))

    def _fail_door(self, event: DoorFailed) -> None:
        spare = self._at_hand.spare if event.code == policy.STALE else None
        self.session = replace(self._at_hand, envelope=spare, spare=None, door_port=None)
        self._fail(event.code, {})
        if spare is not None:
            self._do(do.StartTimer(do.DOOR_RETRY, self._now_ms))

    def _note_failure(self, event: DoorFailed) -> None:
        """The newer order was not taken by the runner: the session goes on as it was."""
        self._record("door.failed", {"code": event.code})

    def _refuse(self, event: DoorFailed) -> None:
        self.last_code = event.code
        self.session = replace(self._at_hand, code=event.code)
        self._record("door.failed", {"code": event.code})
        self._close(event.code)

    def _lose_door(self, _event: DoorGone) -> None:
        self.session = replace(self._at_hand, envelope=None, door_port=None)
        self._record("door.lost", {"code": "door.not-started"})
        self._retry("door.not-started")

    def _forget_door(self, _event: DoorGone) -> None:
        self.session = replace(self._at_hand, envelope=None, door_port=None)

    # The tunnel's half

    def _announce(self, _event: TunnelOpened) -> None:
        session, route = self._at_hand, self._route
        self.session = replace(session, code=None, steady_from_ms=self._now_ms + policy.STEADY_MS, forwards={})
        how = {"door": session.facts.door, "shares_user": session.facts.shares_user} if session.facts.door else {}
        self._record("door.opened", {"relay": route and route.relay, "attempt": session.attempt, **how})

    def _note_forward(self, event: ForwardTold) -> None:
        """Write down how a named forward fares, when that is news; the door is open all the same."""
        known, name, code = self._at_hand.forwards, event.forward.name, event.code
        if name in known and known[name] == code:
            return
        self.session = replace(self._at_hand, forwards={**known, name: code})
        said = {"code": code, **({"relay_code": event.relay_code} if event.relay_code else {})}
        told = {**event.forward._asdict(), "address": event.address or None}
        self._record("forward.opened" if code is None else "forward.failed", told if code is None else told | said)

    def _fail_tunnel(self, event: TunnelFailed) -> None:
        self._fail(event.code, {"relay_code": event.relay_code} if event.relay_code else {})

    def _lose_tunnel(self, event: TunnelFailed) -> None:
        self._record("door.lost", {"code": event.code})
        self._retry(event.code)

    # Trying again

    def _try_again(self, _event: TimerDue) -> None:
        if policy.needs_order(self._at_hand):
            self._do(do.SendAsk(), do.StartTimer(do.DOOR_RETRY, self._now_ms + policy.ORDER_WAIT_MS))
        else:
            self._attempt()

    def _wait_longer(self, _event: TimerDue) -> None:
        self._retry(self._at_hand.code)

    # Closing

    def _is_last(self, event: DoorEnd) -> bool:
        return self.session is not None and self.session.unfinished <= {_half(event)}

    def _half_close(self, event: DoorEnd) -> None:
        self.session = replace(self._at_hand, unfinished=self._at_hand.unfinished - {_half(event)})

    def _finish(self, _event: DoorEnd) -> None:
        self._record("door.closed", {"code": self._at_hand.why})
        self._do(do.StopTimer(do.DOOR_RETRY), do.StopTimer(do.DOOR_END))
        self.session = None

    def _close_later(self, event: DoorNotClosed) -> None:
        session = policy.after_failure(self._at_hand, event.code, self._now_ms)
        self.session = session
        self._do(do.StartTimer(do.DOOR_RETRY, self._now_ms + policy.retry_delay_ms(session.failures, self._chance)))

    def _close_again(self, _event: TimerDue) -> None:
        self._do(do.CloseDoor(self._at_hand.id))

    # What several of them do

    @property
    def _at_hand(self) -> Session:
        """The session; every cell that asks for it stands in a state that has one."""
        if self.session is None:
            raise AssertionError(f"no session in {self.state}")
        return self.session

    @property
    def _route(self) -> Any:
        session = self._at_hand
        return None if session.order is None else policy.route_of(session, session.order)

    def _do(self, *effects: Effect) -> None:
        self._effects.extend(effects)

    def _record(self, verb: str, data: dict[str, Any]) -> None:
        self._do(do.WriteRecord(verb, self._at_hand.id, data))

    def _attempt(self) -> None:
        """Start what is missing: the door if there is none, and a tunnel."""
        session = self._at_hand
        order = session.order
        if order is None:
            return
        session = self.session = replace(session, attempt=session.attempt + 1)
        route = policy.route_of(session, order)
        self._record("door.opening", {"relay": route.relay, "attempt": session.attempt})
        self._do(do.StopTimer(do.DOOR_RETRY))
        if session.envelope is not None:
            self._call_runner()
        self._do(do.OpenTunnel(session.attempt, session.id, route, order.forwards))
        if session.door_port is not None:
            self._do(do.ForwardTunnel(session.attempt, session.door_port))

    def _call_runner(self) -> None:
        """Hand the order on, once: its nonce is used up by it."""
        session = self._at_hand
        if session.envelope is not None:
            self._do(do.OpenDoor(session.id, session.envelope, session.port))
            self.session = replace(session, envelope=None, calls=session.calls + 1)

    def _fail(self, code: str, data: dict[str, Any]) -> None:
        """Write a failure down when it is another than the last one, and try again later."""
        if code != self._at_hand.code:
            self._record("door.failed", {"code": code, "attempt": self._at_hand.attempt, **data})
        self._retry(code)

    def _retry(self, code: str | None) -> None:
        session = self._at_hand
        if code is not None:
            session = policy.after_failure(session, code, self._now_ms)
        self.session = session
        delay_ms = policy.retry_delay_ms(session.failures, self._chance)
        self._do(do.EndTunnel(session.attempt), do.StartTimer(do.DOOR_RETRY, self._now_ms + delay_ms))

    def _close(self, why: str) -> None:
        """End both halves at once; the session is written down as ended before either is touched."""
        session = replace(self._at_hand, why=why, failures=0, unfinished=frozenset({policy.DOOR, policy.TUNNEL}))
        self.session = session
        self._do(do.MarkEnded(session.id))
        self._record("door.closing", {"code": why})
        self._do(do.StopTimer(do.DOOR_RETRY), do.StopTimer(do.DOOR_END))
        self._do(do.EndTunnel(session.attempt), do.CloseDoor(session.id))


def _half(event: DoorEnd) -> str:
    return policy.TUNNEL if isinstance(event, TunnelEnded) else policy.DOOR
