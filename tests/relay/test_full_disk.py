"""A relay whose disk is full goes on closing, opens nothing, and writes down afterwards what happened meanwhile."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact, Head, check_link
from doorward_relay.backlog import Backlog, add
from doorward_relay.edges.store import Store
from doorward_relay.effects import KeepEnd, WriteRecord

from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until
from tests.relay.conftest import installed_relay
from tests.relay.relaying import MANAGED, Console, Device, Relay, listeners_on, of_managed

Dial = Callable[[str], Device]


@pytest.fixture
def relay(programs: Programs, scratch: Path, kind: str) -> Iterator[Relay]:
    """A relay whose state and run folders lie on a disk of one MiB."""
    folder = scratch / "relay"
    folder.mkdir(mode=0o711)
    mounted = run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=1m,mode=0711", "tmpfs", folder])
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield installed_relay(programs, folder, kind)
    finally:
        programs.end_all()
        run(["/usr/bin/umount", folder])


def _fill(relay: Relay) -> None:
    """Leave no byte free."""
    with (relay.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while os.statvfs(relay.folder).f_bavail:
            filler.write(b"x" * 4096)


def _make_room(relay: Relay) -> None:
    (relay.folder / "filler").unlink()


def _open(relay: Relay, console: Console, dial: Dial, *, n: int = 0, lasts_s: float = 600) -> tuple[str, Device]:
    grant = console.granted(relay.ports[n], lasts_s=lasts_s)
    device = dial(grant.session)
    device.dial()
    assert device.forward(relay.ports[n], 9) == 0
    console.wait_for_verb("tunnel.up", grant.session)
    return grant.session, device


def _is_running(relay: Relay) -> bool:
    return relay.daemon is not None and relay.daemon.is_running


def _assert_chain_holds(console: Console) -> None:
    last = Head()
    for record in console.records():
        assert check_link(last, record) is None
        last = record.head


@pytest.mark.feature("B17")
@pytest.mark.threat("tunnel-after-end")
def test_end_when_the_disk_is_full_then_the_port_is_freed_and_the_records_come_later(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """OFF closes at once; nobody is admitted again; with room, what happened is told in order and the chain holds."""
    session, device = _open(relay, console, dial)
    beside = console.granted(relay.ports[2]).session
    _fill(relay)
    answer = console.end(session)
    assert answer.json() == {"session": session, "closed": True, "ports_free": True}
    assert not listeners_on(relay.ports[0])
    wait_until(lambda: device.ask("check") != 0, 5, "the end of the connection")
    assert not relay.admits(session)
    assert dial(session).attempt("-N", limit_s=20).returncode == 255
    assert console.get("/readyz").json()["ledger"] is False

    refused = console.put(console.grant(relay.ports[1]))
    assert (refused.status_code, refused.json()["code"]) == (503, "relay.unavailable")
    assert console.get("/v1/records").json()["live"] == [beside]
    assert "grant.ending" not in console.verbs(session)

    _make_room(relay)
    console.wait_for_verb("grant.ended", session)
    told = console.verbs(session)
    assert told.index("grant.ending") < told.index("grant.ended")
    refusal = console.wait_for_verb("grant.refused")
    assert refusal.fact.data["code"] == "relay.unavailable"
    _assert_chain_holds(console)
    wait_until(lambda: console.get("/readyz").json()["ledger"], 5, "the store")
    console.granted(relay.ports[1])
    assert _is_running(relay)


@pytest.mark.feature("B17")
@pytest.mark.threat("ends-relay-alone")
def test_expiry_when_the_disk_is_full_then_it_closes_and_others_stay(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """The relay's own clock closes on a full disk; the session beside it keeps its tunnel."""
    stays, neighbour = _open(relay, console, dial, n=1)
    session, device = _open(relay, console, dial, lasts_s=5)
    _fill(relay)
    wait_until(lambda: not listeners_on(relay.ports[0]), 10, "the end of the session")
    wait_until(lambda: device.ask("check") != 0, 5, "the end of the connection")
    assert neighbour.ask("check") == 0
    assert listeners_on(relay.ports[1])
    assert _is_running(relay)

    _make_room(relay)
    assert console.wait_for_verb("grant.ending", session).fact.data == {"why": "expired"}
    if relay.kind == MANAGED:
        wait_until(lambda: relay.admits(stays), 5, "the neighbour's line")
    _assert_chain_holds(console)


@pytest.mark.feature("B17")
@pytest.mark.parametrize("is_killed", [True, False])
def test_restart_when_the_disk_is_full_then_it_serves_and_closes(
    relay: Relay, console: Console, dial: Dial, *, is_killed: bool
) -> None:
    """A daemon that starts on a full disk answers, ends, and tells later what it did; status works again."""
    session, device = _open(relay, console, dial)
    daemon = relay.daemon
    assert daemon is not None
    daemon.kill() if is_killed else daemon.end()
    _fill(relay)
    relay.start_daemon()
    wait_until(lambda: console.get("/healthz").status_code == 200, 5, "an answer")
    assert (device.ask("check") == 0) is (relay.kind == MANAGED)  # an embedded relay's tunnels end with its process
    assert console.get("/v1/records").json()["live"] == [session]
    assert console.end(session).json()["closed"] is True
    assert not listeners_on(relay.ports[0])
    wait_until(lambda: device.ask("check") != 0, 5, "the end of the connection")

    _make_room(relay)
    console.wait_for_verb("grant.ended", session)
    assert console.verbs().count("relay.started") == 2
    _assert_chain_holds(console)
    wait_until(lambda: relay.command("status")[0] == 0, 20, "the status to be well again")


@pytest.mark.feature("B17")
@pytest.mark.threat("tunnel-after-end")
def test_restart_when_an_end_was_not_written_then_the_session_is_not_admitted_again(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """An end on a full disk outlives the daemon: the session does not live again, before there is room or after."""
    session, _ = _open(relay, console, dial)
    _fill(relay)
    assert console.end(session).json()["closed"] is True
    assert relay.daemon is not None
    relay.daemon.kill()
    relay.start_daemon()
    assert console.get("/v1/records").json()["live"] == []
    _make_room(relay)
    wait_until(lambda: console.get("/readyz").json()["ledger"], 5, "the store")
    assert not relay.admits(session)
    relay.daemon.kill()
    store = Store(relay.folder / "state/relay.db")
    assert session in store.ledger().ended
    store.close()
    relay.start_daemon()
    assert console.get("/v1/records").json()["live"] == []


@pytest.mark.feature("B17")
@pytest.mark.feature("B5")
def test_hello_when_the_disk_is_full_then_the_newest_connection_gets_the_port(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """A frozen connection is ended for the newer one, and that is told later."""
    session, old = _open(relay, console, dial)
    new = dial(session)
    new.dial()
    _fill(relay)
    assert new.forward(relay.ports[0], 9) == 255
    assert new.hello()["code"] == "relay.port-freed"
    assert new.forward(relay.ports[0], 9) == 0
    wait_until(lambda: old.ask("check") != 0, 5, "the end of the older connection")
    _make_room(relay)
    console.wait_for_verb("tunnel.replaced", session)
    _assert_chain_holds(console)


@of_managed
@pytest.mark.feature("B17")
@pytest.mark.threat("tunnel-other-port")
def test_surplus_when_the_disk_is_full_then_it_is_ended(relay: Relay, console: Console, dial: Dial) -> None:
    """A listener without a grant is ended although that cannot be written down yet."""
    grant = console.granted(relay.ports[0])
    device = dial(grant.session)
    principals = relay.folder / "run/principals"
    principals.write_text(principals.read_text().replace(f"*:{relay.ports[0]}", f"*:{relay.ports[5]}"))
    device.dial()
    _fill(relay)
    device.forward(relay.ports[5], 9)
    wait_until(lambda: device.ask("check") != 0, 5, "the end of the connection")
    assert not listeners_on(relay.ports[5])
    _make_room(relay)
    assert console.wait_for_verb("listener.surplus").fact.data["port"] == relay.ports[5]
    assert _is_running(relay)


def test_backlog_when_there_is_no_room_then_records_are_counted_in_their_place_and_ends_stay() -> None:
    """Of records beyond the limit the number is told by the last one before them; an end always waits."""
    told = [WriteRecord(Fact("doors.shut", data={"n": n})) for n in range(4)]
    end = KeepEnd(SessionId("s-aaaaaaaaaaaaaaaa"), 1)
    backlog = add(Backlog(), [*told, end], at=1, most=2)
    assert [one.effect for one in backlog.waiting] == [told[0], told[1], end]
    assert backlog.dropped == 2
    assert backlog.waiting[1].fact == Fact("doors.shut", data={"n": 1, "dropped": 2})
