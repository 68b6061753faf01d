"""The door and link machines: every cell of their tables, and the laws that hold on every way through them."""

from dataclasses import replace

import pytest
from doorward_agent import effects as do
from doorward_agent import events
from doorward_agent.events import DoorEvent
from doorward_agent.link import LinkMachine
from doorward_agent.machine import DoorMachine
from doorward_agent.policy import Session
from doorward_agent.states import DOOR_TABLE, IGNORED, LINK_TABLE, DoorState, LinkState
from doorward_agent.tables import answers_from_table
from doorward_protocol.asked import Asked
from doorward_protocol.ids import RelayId, SessionId
from doorward_protocol.orders import Forward, Login, OpenDoor, RelayRoute
from hypothesis import given
from hypothesis import strategies as st

MINE = SessionId("s-aaaaaaaaaaaaaaaa")
OTHER = SessionId("s-bbbbbbbbbbbbbbbb")
NOW_MS = 1_000_000


def route(letter: str) -> RelayRoute:
    return RelayRoute(RelayId(f"r-{letter * 16}"), "managed", "relay", 22, "tunnel", ("ssh-ed25519 AAAA",), "cert")


def order(session: SessionId = MINE) -> OpenDoor:
    forwards = (Forward("ssh", "ssh", "*", 22001),)
    login = Login("remote-admin", ())
    return OpenDoor(session, 1, 1, (route("a"), route("b")), forwards, login, "x", Asked("a", 1, "r"))


def ordered(session: SessionId = MINE, *, is_repeat: bool = False) -> events.Ordered:
    return events.Ordered(order(session), b"envelope", NOW_MS + 3_600_000, 40_000, is_repeat)


NAMED = Forward("database", "tcp:10.0.0.5:5432", "*", 22002)
SESSION = Session(MINE, order(), port=40_000, deadline_ms=NOW_MS + 3_600_000, door_port=40_000, attempt=1)

EVENTS: dict[str, DoorEvent] = {
    "ordered": ordered(),
    "ordered_other": ordered(OTHER),
    "ordered_shut": events.OrderedShut(MINE),
    "end_reached": events.TimerDue(do.DOOR_END),
    "door_found": events.DoorFound(MINE, 40_000, None),
    "door_gone": events.DoorGone(MINE),
    "door_opened": events.DoorOpened(MINE, 40_000, "cgroup"),
    "door_failed": events.DoorFailed(MINE, "door.port-busy"),
    "door_refused": events.DoorFailed(MINE, "order.session-ended"),
    "door_closed": events.DoorClosed(MINE),
    "door_not_closed": events.DoorNotClosed(MINE, "runner.unavailable"),
    "tunnel_opened": events.TunnelOpened(1),
    "tunnel_failed": events.TunnelFailed(1, "tunnel.lost"),
    "tunnel_ended": events.TunnelEnded(1),
    "forward_told": events.ForwardTold(1, NAMED, "10.0.0.5"),
    "retry_due": events.TimerDue(do.DOOR_RETRY),
}


def machine_in(state: DoorState, session: Session | None = None) -> DoorMachine:
    """Put a machine into a state, with the data that the state has."""
    machine = DoorMachine()
    if state is DoorState.SHUT:
        return machine
    machine.state = state
    machine.session = session or SESSION
    if state is DoorState.CLOSING:
        machine.session = replace(machine.session, unfinished=frozenset({"door", "tunnel"}))
    return machine


CELLS = sorted({(answer.trigger, answer.source) for answer in answers_from_table(DOOR_TABLE)})


def test_door_table_when_read_then_every_state_answers_every_trigger() -> None:
    """No pair of state and trigger is left to chance, and every reason for ignoring is written out."""
    assert sorted((trigger, state.name) for trigger in EVENTS for state in DoorState) == CELLS
    assert {answer.ignored for answer in answers_from_table(DOOR_TABLE)} - {None} == set(IGNORED)


def test_link_table_when_read_then_every_state_answers_every_trigger() -> None:
    """The link's table is whole too."""
    answers = list(answers_from_table(LINK_TABLE))
    assert len(answers) == len({answer.trigger for answer in answers}) * len(LinkState)


@pytest.mark.parametrize(("trigger", "source"), [cell for cell in CELLS if cell != ("ordered_other", "SHUT")])
def test_door_when_triggered_then_does_what_its_cell_says(trigger: str, source: str) -> None:
    """The machine moves, stays or does nothing exactly as the table says (in SHUT no session is another one)."""
    machine = machine_in(DoorState[source])
    effects = machine.step(EVENTS[trigger], NOW_MS, 0.5)
    answers = [one for one in answers_from_table(DOOR_TABLE) if (one.trigger, one.source) == (trigger, source)]
    answer = answers[-1]  # CLOSING has both halves to end here, so the guarded alternative does not apply
    assert machine.state.name == (answer.target or source)
    if answer.ignored is not None:
        assert effects == ()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (events.TunnelOpened(0), "an attempt given up"),
        (events.TunnelFailed(2, "tunnel.lost"), "an attempt that is none"),
        (events.DoorOpened(OTHER, 1, "x"), "another session's door"),
        (events.OrderedShut(OTHER), "another session"),
        (events.TimerDue("ask"), "another timer"),
    ],
)
@pytest.mark.parametrize("state", [state for state in DoorState if state is not DoorState.SHUT])
def test_door_when_event_is_about_something_else_then_nothing_happens(
    event: DoorEvent, reason: str, state: DoorState
) -> None:
    """Late events of attempts and sessions that were given up change nothing (fenced by number and id)."""
    machine = machine_in(state)
    assert machine.step(event, NOW_MS, 0.5) == ()
    assert machine.state is state


def test_door_when_ordered_then_runner_and_tunnel_start_together_after_the_record() -> None:
    """Opening writes its record first, then starts both halves in one step."""
    effects = DoorMachine().step(ordered(), NOW_MS, 0.5)
    kinds = [type(effect) for effect in effects]
    assert kinds == [do.StartTimer, do.WriteRecord, do.StopTimer, do.OpenDoor, do.OpenTunnel]


def test_forward_when_it_is_told_again_then_only_news_is_written_down() -> None:
    """A target that stays away is one line in the history, not one every quarter of a minute; a tunnel that is new says all anew."""
    machine = machine_in(DoorState.OPEN)
    away = events.ForwardTold(1, NAMED, "10.0.0.5", "forward.unreachable")
    told = [
        machine.step(event, NOW_MS, 0.5) for event in (away, away, replace(away, code=None), replace(away, code=None))
    ]
    written = [
        (effect.verb, effect.data) for effects in told for effect in effects if isinstance(effect, do.WriteRecord)
    ]
    where = {**NAMED._asdict(), "address": "10.0.0.5"}
    assert written == [("forward.failed", {**where, "code": "forward.unreachable"}), ("forward.opened", where)]
    assert machine.state is DoorState.OPEN
    again = machine_in(DoorState.OPENING, replace(machine.session or SESSION, forwards={"database": None}))
    again.step(events.TunnelOpened(1), NOW_MS, 0.5)
    assert [type(effect) for effect in again.step(replace(away, code=None), NOW_MS, 0.5)] == [do.WriteRecord]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_door_when_open_then_its_record_says_whether_the_log_in_shares_the_agents_user(*, is_restarted: bool) -> None:
    """What the runner said of its door stands in door.opened, also where the agent only found the door again."""
    facts = events.DoorFacts("embedded", shares_user=True)
    machine = DoorMachine()
    if is_restarted:
        machine.step(events.DoorFound(MINE, 40_000, None, facts), NOW_MS, 0.5)
        machine.step(ordered(), NOW_MS, 0.5)
        machine.step(events.TimerDue(do.DOOR_RETRY), NOW_MS, 0.5)
    else:
        machine.step(ordered(), NOW_MS, 0.5)
        machine.step(events.DoorOpened(MINE, 40_000, "subreaper", facts), NOW_MS, 0.5)
    said = machine.step(events.TunnelOpened(1), NOW_MS, 0.5)
    (record,) = [effect for effect in said if isinstance(effect, do.WriteRecord)]
    assert (record.data["door"], record.data["shares_user"]) == ("embedded", True)


def test_door_when_closing_then_session_is_written_down_as_ended_before_anything_ends() -> None:
    """Power loss in the middle of closing cannot bring the session back."""
    effects = machine_in(DoorState.OPEN).step(events.OrderedShut(None), NOW_MS, 0.5)
    kinds = [type(effect) for effect in effects]
    assert kinds[0] is do.MarkEnded
    assert kinds.index(do.WriteRecord) < kinds.index(do.EndTunnel) < kinds.index(do.CloseDoor)


@pytest.mark.parametrize("again", [MINE, None])
def test_door_when_ordered_shut_twice_then_it_is_shut_once(again: SessionId | None) -> None:
    """OFF while it is closing, for whatever session, ends nothing a second time and writes down nothing more."""
    machine = machine_in(DoorState.OPEN)
    machine.step(events.OrderedShut(MINE), NOW_MS, 0.5)
    assert machine.step(events.OrderedShut(again), NOW_MS, 0.5) == ()


def test_door_when_tunnel_is_lost_then_the_door_stays_and_the_next_relay_is_dialled() -> None:
    """Losing the tunnel dials the next relay after a wait; the runner is not called."""
    machine = DoorMachine()
    machine.step(ordered(), NOW_MS, 0.5)
    machine.step(events.DoorOpened(MINE, 40_000, "cgroup"), NOW_MS, 0.5)
    machine.step(events.TunnelOpened(1), NOW_MS, 0.5)
    lost = machine.step(events.TunnelFailed(1, "tunnel.lost"), NOW_MS, 0.5)
    assert machine.state is DoorState.RETRYING
    assert not any(isinstance(effect, do.CloseDoor | do.OpenDoor) for effect in lost)
    again = machine.step(events.TimerDue(do.DOOR_RETRY), NOW_MS, 0.5)
    (dial,) = [effect for effect in again if isinstance(effect, do.OpenTunnel)]
    assert dial.route.relay == route("b").relay
    assert do.ForwardTunnel(2, 40_000) in again


def test_door_when_runner_failed_then_it_asks_for_the_order_anew_and_obeys_it() -> None:
    """The runner used up its nonce: the next attempt begins with an ask, and goes on with the order signed again."""
    machine = DoorMachine()
    machine.step(ordered(), NOW_MS, 0.5)
    machine.step(events.DoorFailed(MINE, "door.port-busy"), NOW_MS, 0.5)
    assert do.SendAsk() in machine.step(events.TimerDue(do.DOOR_RETRY), NOW_MS, 0.5)
    effects = machine.step(ordered(is_repeat=True), NOW_MS, 0.5)
    assert any(isinstance(effect, do.OpenDoor) for effect in effects)


def test_door_when_repeat_comes_while_waiting_then_the_wait_goes_on() -> None:
    """An order signed again does not shorten the wait: otherwise asking would undo the backing off."""
    machine = machine_in(DoorState.RETRYING)
    effects = machine.step(ordered(is_repeat=True), NOW_MS, 0.5)
    assert machine.state is DoorState.RETRYING
    assert effects == ()


def test_door_when_the_same_order_comes_while_the_runner_works_then_one_attempt() -> None:
    """ON twice in a row: the runner is called once and one tunnel is dialled."""
    machine = DoorMachine()
    machine.step(ordered(), NOW_MS, 0.5)
    effects = machine.step(ordered(is_repeat=True), NOW_MS, 0.5)
    assert not any(isinstance(effect, do.OpenDoor | do.OpenTunnel) for effect in effects)
    machine.step(events.TunnelFailed(1, "tunnel.timeout"), NOW_MS, 0.5)
    again = machine.step(events.TimerDue(do.DOOR_RETRY), NOW_MS, 0.5)
    assert any(isinstance(effect, do.OpenTunnel) for effect in again)
    assert not any(isinstance(effect, do.OpenDoor | do.SendAsk) for effect in again)
    assert do.ForwardTunnel(2, 40_000) in machine.step(events.DoorOpened(MINE, 40_000, "cgroup"), NOW_MS, 0.5)


EVENT_LISTS = st.lists(st.sampled_from([*EVENTS.values(), events.TunnelOpened(2), events.TunnelEnded(2)]), max_size=40)


@given(EVENT_LISTS, st.floats(0, 0.999))
def test_door_when_anything_happened_then_a_shut_order_and_two_ends_reach_shut(
    happened: list[DoorEvent], chance: float
) -> None:
    """From every state that any sequence of events can reach, the door gets shut."""
    machine = DoorMachine()
    for event in happened:
        machine.step(event, NOW_MS, chance)
    machine.step(events.OrderedShut(None), NOW_MS, chance)
    if machine.session is not None:
        machine.step(events.TunnelEnded(machine.session.attempt), NOW_MS, chance)
    if machine.session is not None:
        machine.step(events.DoorClosed(machine.session.id), NOW_MS, chance)
    assert machine.state is DoorState.SHUT
    assert machine.session is None


@given(EVENT_LISTS, st.floats(0, 0.999))
def test_door_when_anything_happens_then_its_laws_hold(happened: list[DoorEvent], chance: float) -> None:
    """SHUT has no session, every other state has one; whoever waits has a timer; OPEN has a door behind it."""
    machine = DoorMachine()
    timers: dict[str, int] = {}
    for event in happened:
        if isinstance(event, events.TimerDue):
            timers.pop(event.name, None)
        for effect in machine.step(event, NOW_MS, chance):
            if isinstance(effect, do.StartTimer):
                timers[effect.name] = effect.at_ms
            elif isinstance(effect, do.StopTimer):
                timers.pop(effect.name, None)
        assert (machine.state is DoorState.SHUT) == (machine.session is None)
        if machine.state is DoorState.RETRYING:
            assert do.DOOR_RETRY in timers
        if machine.state is DoorState.SHUT:
            assert timers == {}


@given(st.lists(st.sampled_from(list(EVENTS.values())), max_size=30))
def test_door_when_it_opens_a_session_then_it_was_ordered_and_marked_ended_at_the_end(
    happened: list[DoorEvent],
) -> None:
    """Nothing is opened that was not ordered, and whatever ends is marked as ended first."""
    machine = DoorMachine()
    marked: set[str] = set()
    for event in happened:
        was_known = isinstance(event, events.Ordered) or machine.session is not None
        for effect in machine.step(event, NOW_MS, 0.5):
            if isinstance(effect, do.OpenDoor | do.OpenTunnel):
                assert was_known
            if isinstance(effect, do.MarkEnded):
                marked.add(effect.session)
            if isinstance(effect, do.WriteRecord) and effect.verb == "door.closed":
                assert effect.session in marked


def test_link_when_an_old_connection_ends_then_the_new_one_stays() -> None:
    """The end of a connection that was given up is not taken for the end of the present one."""
    link = LinkMachine()
    link.start(0)
    link.step(events.BrokerLost(1, "gone"), 0, 0.5)
    link.step(events.TimerDue(do.LINK_RETRY), 1, 0.5)
    link.step(events.BrokerConnected(2), 2, 0.5)
    assert link.step(events.BrokerLost(1, "late"), 3, 0.5) == ()
    assert link.state is LinkState.ONLINE


def test_link_when_lost_again_and_again_then_waits_grow_to_a_minute_at_most() -> None:
    """The waits have full jitter under a ceiling that doubles up to 60 s, and begin small after a steady time."""
    link = LinkMachine()
    link.start(0)
    waits = []
    for generation in range(1, 12):
        (timer,) = link.step(events.BrokerLost(generation, "gone"), 0, 0.999)
        assert isinstance(timer, do.StartTimer)
        waits.append(timer.at_ms)
        link.step(events.TimerDue(do.LINK_RETRY), 0, 0.5)
    assert waits == sorted(waits)
    assert 50_000 < waits[-1] <= 60_000
    link.step(events.BrokerConnected(12), 0, 0.5)
    (timer,) = link.step(events.BrokerLost(12, "gone"), 120_000, 0.999)
    assert isinstance(timer, do.StartTimer)
    assert timer.at_ms - 120_000 <= 1_000
