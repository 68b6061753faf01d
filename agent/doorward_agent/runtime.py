"""Where decisions meet effects: takes an event from the queue, lets a machine step, performs what it decided.

One thread, which owns all state. Edges and their threads only put events on the queue. An order's way: ``edges/broker`` puts
``MessageArrived``, ``_take_order`` has it judged and written down, the door machine steps, ``_perform`` acts. After every event
the device tells the console if anything that it reports has changed.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from doorward_protocol.orders import OpenDoor, Order, ShutDoor

from doorward_agent import effects as do
from doorward_agent import errands, events, policy, reporting, timers
from doorward_agent.asking import Asking, JournalReport
from doorward_agent.contracts import Dial, Edges, Supervisor
from doorward_agent.effects import Effect
from doorward_agent.errands import Errands
from doorward_agent.events import Event
from doorward_agent.history import History
from doorward_agent.identity import Identity
from doorward_agent.link import LinkMachine
from doorward_agent.machine import DoorMachine
from doorward_agent.mailbox import Mailbox
from doorward_agent.orders import Orders, Refusal, facts_of, session_of
from doorward_agent.signing import Signing
from doorward_agent.states import DoorState, LinkState

if TYPE_CHECKING:
    from doorward_protocol.admission import Verified

_log = logging.getLogger(__name__)

ASK_EVERY_MS: Final = 300_000
ASK_AGAIN_MS: Final = 15_000
"""From so long to twice as long after a greeting: a broker that has just started loses the first while no worker is back."""
RUNNER_NONCE_RENEWED_S: Final = 300
DOOR_LOOK_MS: Final = 10_000
"""A door that died alone keeps its tunnel, and nobody here would be told; the loop wakes as often anyway (``timers``)."""


class Runtime:
    """The agent at work."""

    def __init__(self, identity: Identity, signing: Signing, edges: Edges, version: str, journal_bytes: int) -> None:
        self._edges = edges
        self._door = DoorMachine()
        self._link = LinkMachine()
        self.timers: dict[str, int] = {}
        self._asking = Asking(identity.device, version, edges.clock, edges.system)
        self._history = History(identity, edges.journal, edges.store, signing, journal_bytes)
        self._orders = Orders(signing, edges.store, edges.clock, edges.system.boot)
        self._errands = Errands(self._orders, edges.system.boot)
        self._runner_code: str | None = None
        self._shown: Mapping[str, Any] | None = None

    @property
    def door(self) -> DoorMachine:
        return self._door

    def run(self, mailbox: Mailbox, supervisor: Supervisor) -> None:
        """Work until a stop is requested."""
        self.start()
        while True:
            event = mailbox.take(min(self.wait_s, supervisor.turn()))
            if isinstance(event, events.StopRequested):
                break
            if event is not None:
                self.handle(event)
            self.fire_timers()
        supervisor.stopping()
        self.handle(event)

    @property
    def wait_s(self) -> float:
        is_live = self._door.state is not DoorState.SHUT
        return timers.wait_s(self.timers, self._now_ms, is_live=is_live)

    def start(self) -> None:
        """Write down that the agent started, look for what an earlier one left, dial the broker."""
        self._write("agent.started", None, {"boot": self._edges.system.boot, **self._history.lost})
        self._edges.runner.report()
        self.timers[do.ASK] = self._now_ms + ASK_EVERY_MS
        self._perform_all((*self._errands.resume(self._now_ms), *self._link.start(self._now_ms)))
        self._show()

    def handle(self, event: Event) -> None:
        """Answer one event."""
        match event:
            case events.MessageArrived("order", payload):
                self._take_order(payload)
            case events.MessageArrived("receipt", payload):
                self._history.take_receipt(payload, self._orders.moment)
            case events.MessageArrived():
                pass  # only the device's own two topics are subscribed to
            case events.RecordDelivered(generation, n):
                if generation == self._link.generation:
                    self._history.delivered(n)
            case events.RunnerReported():
                self._take_report(event)
            case events.CommandTold() | events.SettingsTold() | events.RehearsalTold() | events.RehearsalWished():
                self._perform_all(self._errands.told(event, self._now_ms))
            case events.BrokerConnected() | events.BrokerLost():
                _log.info("broker %s", event)
                self._perform_all(self._link.step(event, self._now_ms, self._edges.system.chance()))
            case events.StopRequested():
                self._stop(event)
            case _:
                self._step_door(event)
        self._tell()

    def fire_timers(self) -> None:
        """Let the timers that are due come true."""
        for name in timers.due(self.timers, self._now_ms):
            if self.timers.pop(name, None) is not None:
                self._handle_timer(name)
                self._tell()

    def _handle_timer(self, name: str) -> None:
        if name == do.ASK:
            self._ask_as_usual()
        elif name == do.NONCE_ASK:
            self._ask()
        elif name == do.RECEIPT:
            self._history.lose_patience()
            if not self._history.is_told:
                self._ask()  # who answers an ask says how far our records are stored
        elif name in errands.TIMERS:
            self._perform_all(self._errands.due(name, self._now_ms))
        elif name == do.DOOR_LOOK:
            self._look_at_door()
        elif name == do.LINK_RETRY:
            self._perform_all(self._link.step(events.TimerDue(name), self._now_ms, self._edges.system.chance()))
        else:
            self._step_door(events.TimerDue(name))

    # Orders

    def _take_order(self, raw: bytes) -> None:
        nonces = self._asking.fresh_nonces()
        try:
            judged = self._orders.judged(raw, nonces)
        except OSError as error:  # no descriptor is left to load with what judges the first one
            _log.error("order not judged, asked for anew error=%s", error)
            self._ask_soon()
            return
        if isinstance(judged, Refusal):
            self._refuse(judged)
        else:
            self._orders.take(judged, nonces)
            self._accept(judged, raw)

    def _refuse(self, refusal: Refusal) -> None:
        _log.warning("order refused code=%s order=%s", refusal.code, refusal.order)
        self._history.write_refusal(refusal, self._orders.moment, self._now_ms)
        if refusal.code == "order.stale-nonce":
            self._ask_soon()

    def _ask_soon(self) -> None:
        """Ask for the order anew, at once or ten seconds after the last time."""
        if do.NONCE_ASK not in self.timers:
            self.timers[do.NONCE_ASK] = self._asking.again_at()

    def _accept(self, verified: "Verified", raw: bytes) -> None:
        """Do what was accepted, and written down."""
        order = verified.order
        effects = self._answer(order, raw, is_repeat=verified.is_repeat)
        if effects or not verified.is_repeat:
            self._write("order.accepted", session_of(order), facts_of(order))
        self._perform_all(effects)

    def _answer(self, order: Order, raw: bytes, *, is_repeat: bool) -> tuple[Effect, ...]:
        """Let the door machine decide what an accepted order means."""
        event: events.DoorEvent
        match order.body:
            case OpenDoor() as body:
                deadline_ms = self._orders.deadline_ms(order, body)
                event = events.Ordered(body, raw, deadline_ms, self._edges.system.free_port(), is_repeat)
            case ShutDoor(session):
                event = events.OrderedShut(session)
            case _:
                return self._errands.take(order, raw)
        return self._door.step(event, self._now_ms, self._edges.system.chance())

    def _take_report(self, report: events.RunnerReported) -> None:
        """Compare what the runner holds with what is known here."""
        self._runner_code = report.code
        if report.code is not None:
            return
        self._perform_all(self._errands.know(report.verbs, self._orders.holdings))
        known_ms = None if report.session is None else self._orders.known_deadline_ms(report.session)
        match policy.compared(report, self._door.session, self._orders.holdings.ended, known_ms):
            case do.CloseDoor(session):
                self._edges.runner.close_door(session)
            case events.DoorGone() | events.DoorFound() as event:
                self._step_door(event)

    def _look_at_door(self) -> None:
        """Let the runner say whether a door on whose port nobody listens is gone."""
        port = self._door_port
        if port is not None and not self._edges.runner.has_listener(port):
            self._edges.runner.report()

    @property
    def _door_port(self) -> int | None:
        return None if self._door.session is None else self._door.session.door_port

    # Performing

    def _step_door(self, event: events.DoorEvent) -> None:
        before = self._door.state
        effects = self._door.step(event, self._now_ms, self._edges.system.chance())
        _log.info("door %s: %s -> %s", type(event).__name__, before.value, self._door.state.value)
        self._perform_all(effects)

    def _perform_all(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:  # noqa: C901, PLR0912  the one exhaustive match
        match effect:
            case do.WriteRecord(verb, session, data):
                self._write(verb, session, data)
            case do.OpenDoor(session_id, envelope, port):
                self._edges.runner.open_door(session_id, envelope, port)
            case do.CloseDoor(session_id):
                self._edges.runner.close_door(session_id)
            case do.OpenTunnel(attempt, session_id, route, forwards):
                self._edges.tunnel.open(Dial(attempt, session_id, route, forwards))
            case do.ForwardTunnel(attempt, port):
                self._edges.tunnel.forward(attempt, port)
            case do.EndTunnel(attempt):
                self._edges.tunnel.end(attempt)
            case do.MarkEnded(session_id):
                self._orders.end(session_id)
            case do.RunCommand(command, envelope):
                self._edges.runner.run_command(command, envelope)
            case do.Rehearse(command, rehearsal):
                self._edges.rehearser.rehearse(command, rehearsal)
            case do.LookAtCommand():
                self._edges.runner.tell_command()
            case do.NoteCommandTold():
                self._errands.note_told()
            case do.HandSettings(what, envelope):
                self._edges.runner.hand_settings(what, envelope)
            case do.LookAtSettings():
                self._edges.runner.tell_settings()
            case do.SendAsk():
                self._ask()
            case do.StartTimer(name, at_ms):
                self.timers[name] = at_ms
            case do.StopTimer(name):
                self.timers.pop(name, None)
            case do.ConnectBroker(generation):
                self._edges.broker.connect(generation)
            case do.DisconnectBroker():
                self._edges.broker.disconnect()
            case do.GreetConsole():
                self._history.greet()
                self._perform_all(self._errands.greet())
                self.timers[do.ASK] = self._now_ms + round(ASK_AGAIN_MS * (1 + self._edges.system.chance()))
                self._ask()

    def _stop(self, event: events.StopRequested) -> None:
        """Leave: the tunnel ends with us; the door stays its time, for an agent that starts again."""
        self._edges.tunnel.stop()
        self._edges.rehearser.stop()
        self._perform_all(self._link.step(event, self._now_ms, 0.0))
        self._edges.runner.stop()

    def _write(self, verb: str, session: str | None, data: Mapping[str, Any]) -> None:
        self._history.write(verb, session, data, self._orders.moment)

    @property
    def _now_ms(self) -> int:
        return self._edges.clock.boottime_ms()

    # Telling

    @property
    def _report(self) -> reporting.Report:
        return reporting.report_of(self._door, self._orders.holdings, self._errands, self._edges.runner.nonce())

    def _tell(self) -> None:
        """Ask if anything that is reported has changed, and send what is due."""
        if self._link.state is LinkState.ONLINE:
            if self._asking.has_changed(self._report):
                self._ask()
            self._history.send(self._edges.broker)
            timers.keep(
                self.timers, do.RECEIPT, self._now_ms + self._history.patience_ms, is_wanted=self._history.is_owed
            )
        timers.keep(self.timers, do.DOOR_LOOK, self._now_ms + DOOR_LOOK_MS, is_wanted=self._door_port is not None)
        self._show()

    def _ask(self) -> None:
        if self._link.state is LinkState.ONLINE:
            journal = JournalReport(self._history.first, self._history.head)
            self._asking.ask(self._edges.broker, self._report, journal)

    def _ask_as_usual(self) -> None:
        """Do what is done every five minutes."""
        self.timers[do.ASK] = self._now_ms + ASK_EVERY_MS
        self._history.sweep(self._orders.moment, self._now_ms)
        age_s = self._edges.runner.nonce_age_s()
        is_known = self._door.session is None and self._errands.knows_hooks
        if not is_known or age_s is None or age_s > RUNNER_NONCE_RENEWED_S:
            self._edges.runner.report()
        self._ask()

    def _show(self) -> None:
        """Write down for ``doorward-agent status`` how things stand, when that has changed."""
        journal = {"first": self._history.first, "n": self._history.head.n, "receipted": self._history.receipted}
        about = {"link": self._link.state.value, "runner_code": self._runner_code, "verbs": list(self._errands.offered)}
        shown = {**reporting.shown_of(self._door), **about, "journal": journal}
        if shown != self._shown:
            self._shown = shown
            self._orders.save("status", shown, durable=False)
