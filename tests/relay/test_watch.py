"""What the kernel's tables mean: text in, facts out."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import SessionId
from doorward_relay import watch
from doorward_relay.effects import EndTunnel, Live, ProbeDoor, WriteRecord
from doorward_relay.ledger import Ledger
from doorward_relay.view import Count, Listener, Process, Tunnel, View, Visitor, sockets_from_table, view_from
from doorward_relay.watch import IDLE_MS, Known, look

from tests.relay.test_ledger import NOW, after, grant

TABLE_4 = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990        0 11 1 0 100 0 0 10 0
   1: 0100007F:08AE 0B00000A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:4E20 0200007F:9C41 01 00000000:00000000 00:00000000 00000000   990        0 13 1 0 100 0 0 10 0
"""
TABLE_6 = """\
  sl  local_address                         remote_address                        st tx rx uid
   0: 00000000000000000000000000000000:4E20 00000000000000000000000000000000:0000 0A 0:0 00:0 0 990 0 21 1 0
   1: 0000000000000000FFFF00000100007F:4E20 0000000000000000FFFF00000B00000A:9C42 01 0:0 00:0 0 990 0 22 1 0
"""
LISTENER = Listener("0.0.0.0", 20_000, is_devices=True, number=11)
TUNNEL = Tunnel((100, 5), "10.0.0.11", 40_000, 12, (LISTENER,))


def _view(*tunnels: Tunnel, visitors: tuple[Visitor, ...] = ()) -> View:
    return View(tunnels, tuple(each for one in tunnels for each in one.listeners), visitors)


def _verbs(seen: watch.Seen) -> list[str]:
    return [one.fact.verb for one in seen.effects if isinstance(one, WriteRecord)]


def test_tables_when_they_are_read_then_addresses_come_out_as_people_write_them() -> None:
    """Both tables are read, and an IPv4 address inside IPv6 is shown as the IPv4 address that it is."""
    read = sockets_from_table(TABLE_4) + sockets_from_table(TABLE_6)
    assert [(one.local, one.local_port, one.remote, one.remote_port) for one in read] == [
        ("0.0.0.0", 20_000, "0.0.0.0", 0),
        ("127.0.0.1", 2222, "10.0.0.11", 40_000),
        ("127.0.0.1", 20_000, "127.0.0.2", 40_001),
        ("::", 20_000, "::", 0),
        ("127.0.0.1", 20_000, "10.0.0.11", 40_002),
    ]


def test_a_view_when_two_relays_share_the_tunnel_user_then_each_sees_its_own_connections() -> None:
    """What makes a connection ours is our sshd's port, not the user alone."""
    read = sockets_from_table(TABLE_4)
    processes = [Process(100, 99, 5, frozenset({11, 12, 13}))]
    ours = view_from(read, processes, ssh_port=2222, tunnel_uid=990)
    assert ours.tunnels == (TUNNEL,)
    assert ours.visitors == (Visitor(20_000, "127.0.0.2", 40_001, 13),)
    assert view_from(read, processes, ssh_port=2223, tunnel_uid=990) == View((), (), ())


def test_a_listener_when_no_process_can_be_found_for_it_then_it_still_counts() -> None:
    """Provably closed means that nothing of the tunnel user's may be overlooked; a process that ended while we looked is none."""
    found = view_from(sockets_from_table(TABLE_4), [], ssh_port=2222, tunnel_uid=990)
    assert found.listeners == (LISTENER,)
    first = look(Known(is_shut=True), found, Ledger(), now=NOW)
    again = look(first.known, found, Ledger(), now=NOW + 1000)
    assert (_verbs(first), first.known.is_shut) == ([], False)
    assert _verbs(again) == ["listener.surplus"]
    assert _verbs(look(again.known, found, Ledger(), now=NOW + 2000)) == []
    assert _verbs(look(first.known, _view(), Ledger(), now=NOW + 1000)) == ["doors.shut"]


def test_a_connection_when_its_peer_has_closed_then_its_listeners_are_still_whose_they_were() -> None:
    """A device that went leaves its sshd in CLOSE_WAIT for a moment: no listener becomes another relay's by that."""
    read = sockets_from_table(TABLE_4.replace("0B00000A:9C40 01", "0B00000A:9C40 08"))
    processes = [Process(100, 99, 5, frozenset({11, 12}))]
    assert view_from(read, processes, ssh_port=2222, tunnel_uid=990).tunnels == (TUNNEL,)
    assert view_from(read, processes, ssh_port=2223, tunnel_uid=990).listeners == ()


def test_a_tunnel_when_it_comes_and_goes_then_each_is_told_once_and_the_door_is_probed() -> None:
    """Comings and goings are facts; looking again at the same thing is none."""
    ledger = after(grant())
    up = look(Known(is_shut=False), _view(TUNNEL), ledger, now=NOW)
    assert _verbs(up) == ["tunnel.up"]
    assert ProbeDoor(grant().session) in up.effects
    assert look(up.known, _view(TUNNEL), ledger, now=NOW + 9).effects == ()
    down = look(up.known, _view(), ledger, now=NOW + 1000)
    assert _verbs(down) == ["tunnel.down"]
    fact = next(one.fact for one in down.effects if isinstance(one, WriteRecord))
    assert fact.data == {"peer": "10.0.0.11", "lasted_ms": 1000, "bytes_to": None, "bytes_from": None}


def test_a_tunnel_when_a_newer_one_took_its_port_within_one_look_then_the_going_is_told_first() -> None:
    """Whoever reads the history ends with what is: the newer tunnel is up, and its door is probed anew."""
    ledger = after(grant())
    newer = replace(TUNNEL, key=(200, 9))
    up = look(Known(is_shut=False), _view(TUNNEL), ledger, now=NOW)
    both = look(up.known, _view(newer), ledger, now=NOW + 1000)
    assert _verbs(both) == ["tunnel.down", "tunnel.up"]
    assert ProbeDoor(grant().session) in both.effects


def test_a_surplus_listener_when_it_is_seen_twice_then_it_is_ended_twice_and_recorded_once() -> None:
    """Ending goes on until it is gone; the history is told once."""
    first = look(Known(is_shut=True), _view(TUNNEL), Ledger(), now=NOW)
    again = look(first.known, _view(TUNNEL), Ledger(), now=NOW + 1000)
    assert _verbs(first) == ["listener.surplus"]
    assert _verbs(again) == []
    assert EndTunnel(TUNNEL) in first.effects
    assert EndTunnel(TUNNEL) in again.effects


def test_a_listener_when_its_session_is_being_closed_then_it_is_no_find_until_that_has_failed() -> None:
    """At a session's end its own listeners are there for a moment longer, and whoever ends them tells how that went."""
    up = look(Known(), _view(TUNNEL), after(grant()), now=NOW)
    closing = look(up.known, _view(TUNNEL), Ledger(), now=NOW + 1000, closing=frozenset({20_000}))
    failed = look(closing.known, _view(TUNNEL), Ledger(), now=NOW + 2000)
    tried_anew = look(failed.known, _view(TUNNEL), Ledger(), now=NOW + 3000, closing=frozenset({20_000}))
    again = look(tried_anew.known, _view(TUNNEL), Ledger(), now=NOW + 4000)
    found = ["listener.surplus" in _verbs(one) for one in (closing, failed, tried_anew, again)]
    assert found == [False, True, False, False]


def test_a_public_listener_when_loopback_is_granted_then_it_is_surplus() -> None:
    """The watch does not rely on sshd's own check of the address."""
    narrow = after(grant())
    live = narrow.live[grant().session]
    local = {grant().session: Live(_with_bind(live, "localhost"), live.digest)}
    seen = look(Known(), _view(TUNNEL), Ledger(live=local), now=NOW)
    assert _verbs(seen)[0] == "listener.surplus"


def test_a_connection_when_it_holds_nothing_for_long_then_it_is_ended() -> None:
    """Whoever logged in and asks for nothing cannot wait for a better day."""
    idle = Tunnel((100, 5), "10.0.0.11", 40_000, 12)
    first = look(Known(is_shut=True), _view(idle), Ledger(), now=NOW)
    early = look(first.known, _view(idle), Ledger(), now=NOW + IDLE_MS - 1)
    late = look(early.known, _view(idle), Ledger(), now=NOW + IDLE_MS)
    assert EndTunnel(idle) not in first.effects + early.effects
    assert late.effects == (EndTunnel(idle),)


def test_a_visitor_when_they_come_and_go_then_both_are_told_with_their_address() -> None:
    """Who connected, from where, for how long."""
    ledger, visitor = after(grant()), Visitor(20_000, "203.0.113.9", 50_000, 31)
    up = look(Known(is_shut=False), _view(TUNNEL), ledger, now=NOW)
    inside = replace(_view(TUNNEL, visitors=(visitor,)), counts={31: Count(70, 7)})
    came = look(up.known, inside, ledger, now=NOW + 1000)
    left = look(came.known, _view(TUNNEL), ledger, now=NOW + 4000)
    assert (_verbs(came), _verbs(left)) == (["visitor.came"], ["visitor.left"])
    fact = next(one.fact for one in left.effects if isinstance(one, WriteRecord))
    assert fact.data == {
        "address": "203.0.113.9", "from_port": 50_000, "port": 20_000, "lasted_ms": 3000, "bytes_to": 70, "bytes_from": 7,
    }  # fmt: skip


def test_all_doors_when_the_last_is_shut_then_that_is_told_once() -> None:
    """``doors.shut`` means: no live grant and no listener."""
    opened = look(Known(is_shut=True), _view(TUNNEL), after(grant()), now=NOW)
    shut = look(opened.known, _view(), Ledger(), now=NOW + 1)
    assert _verbs(shut) == ["tunnel.down", "doors.shut"]
    assert look(shut.known, _view(), Ledger(), now=NOW + 2).effects == ()


def test_an_ending_session_when_a_connection_once_held_its_port_then_that_connection_goes_too() -> None:
    """Cancelling the forward does not save a connection from its session's end."""
    up = look(Known(), _view(TUNNEL), after(grant()), now=NOW)
    empty = Tunnel((100, 5), "10.0.0.11", 40_000, 12)
    other = Tunnel((200, 6), "10.0.0.12", 40_000, 14)
    gone = watch.former_holders(up.known, _view(empty, other), grant().session)
    assert gone == (empty,)


@pytest.mark.feature("B15")
def test_a_look_when_thousands_of_tunnels_are_up_then_it_costs_a_fraction_of_its_second() -> None:
    """Each listener is looked up, not searched for: what a look costs grows with the tunnels, not with their square."""
    live, tunnels = dict[SessionId, Live](), list[Tunnel]()
    for n in range(5_000):
        session = SessionId(f"s-{n}")
        forwards = (replace(grant().forwards[0], port=20_000 + n),)
        live[session] = Live(replace(grant(), session=session, forwards=forwards), "digest")
        tunnels.append(Tunnel((n, 1), "10.0.0.11", n, n, (replace(LISTENER, port=20_000 + n, number=n),)))
    ledger, view = Ledger(live=live), _view(*tunnels)
    began = time.process_time()
    known = look(Known(), view, ledger, now=NOW).known
    first_s, began = time.process_time() - began, time.process_time()
    assert look(known, view, ledger, now=NOW + 1000).effects == ()
    again_s = time.process_time() - began
    assert again_s < first_s / 5  # a fiftieth; a look that judged each anew took as long as the first
    assert first_s < 2  # a tenth; one that searched for each took 20


class _Table(tuple[Any, ...]):  # noqa: SLOT001  it counts
    """A table that minds how often somebody goes through it."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def test_a_look_when_the_tables_are_those_of_the_last_one_then_nobody_goes_through_them() -> None:
    """Whoever types waits while this looks: at rest thousands of tunnels cost it nothing."""
    tables = _Table([TUNNEL]), _Table([LISTENER])
    ledger, view = after(grant()), View(*tables, ())
    known = look(Known(), view, ledger, now=NOW).known
    before = [one.times for one in tables]
    assert look(known, view, ledger, now=NOW + 1000).effects == ()
    assert [one.times for one in tables] == before


def test_a_listener_that_nobody_holds_when_the_tables_are_those_of_the_last_look_then_it_is_told_at_the_second() -> (
    None
):
    """What was found loose or unwell stays so in the same tables, and goes on being dealt with."""
    view = View((), (LISTENER,), ())
    first = look(Known(), view, Ledger(), now=NOW)
    second = look(first.known, view, Ledger(), now=NOW + 1000)
    third = look(second.known, view, Ledger(), now=NOW + 2000)
    assert [_verbs(one) for one in (first, second, third)] == [[], ["listener.surplus"], []]


def test_a_tunnel_when_its_grant_ends_and_the_tables_are_those_of_the_last_look_then_it_is_ended() -> None:
    """The ledger is asked too: what is well under one grant is surplus without it."""
    view = _view(TUNNEL)
    up = look(Known(), view, after(grant()), now=NOW)
    assert EndTunnel(TUNNEL) in look(up.known, view, Ledger(), now=NOW + 1000).effects


def test_a_tunnel_when_it_holds_more_than_its_grant_then_it_is_ended_at_each_look_and_told_once() -> None:
    """Being up makes nobody well: what is passed over holds nothing beside what its session was granted."""
    greedy = replace(TUNNEL, listeners=(LISTENER, replace(LISTENER, port=20_001, number=12)))
    ledger, view = after(grant()), _view(greedy)
    first = look(Known(), view, ledger, now=NOW)
    again = look(first.known, view, ledger, now=NOW + 1000)
    assert _verbs(first) == ["listener.surplus", "tunnel.up"]
    assert again.effects == (EndTunnel(greedy),)


def test_a_tunnel_when_its_grant_was_extended_then_it_is_known_by_the_new_one() -> None:
    """What is passed over is passed over under the grant that it was seen under."""
    up = look(Known(), _view(TUNNEL), after(grant()), now=NOW)
    longer = replace(grant(), ends_at=grant().ends_at + 60_000)
    seen = look(up.known, _view(TUNNEL), Ledger(live={grant().session: Live(longer, "other")}), now=NOW + 1000)
    assert seen.effects == ()
    assert seen.known.tunnels[TUNNEL.key].grant == longer
    assert seen.known.tunnels[TUNNEL.key].since == NOW


def _with_bind(live: Live, bind: str) -> Grant:
    return replace(live.grant, forwards=(GrantedForward("ssh", bind, 20_000),))
