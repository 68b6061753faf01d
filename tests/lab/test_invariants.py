"""Each check fires on a defect that was put in on purpose, and is quiet where there is none."""

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.house.house import LOGIN_USER, Device, House
from tests.house.machine import Machine
from tests.lab import invariants, sightings
from tests.lab.invariants import all_hold, disagreements, growth, history_faults, stray_listeners, stray_processes
from tests.lab.scales import Scales
from tests.lab.sightings import TUNNEL_USER, weight_of
from tests.parts.installed import cgroup_root
from tests.parts.ports import free_port
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("E9")]

LISTENS = (
    "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('there', flush=True); time.sleep(600)"
)


def test_house_when_nothing_was_done_then_everything_holds(lab: House, device: Device) -> None:
    """A healthy house satisfies every check, shut and open."""
    all_hold(lab)
    lab.console.open_door(device.id)
    lab.console.wait_for_door(device.id, "open")
    all_hold(lab)


@contextmanager
def listening(machine: Machine, port: int, user: str | None = None) -> Iterator[None]:
    """Hold a listener on a machine, beside everything of ours."""
    stray = machine.start("/usr/bin/python3", "-c", LISTENS.format(port=port), user=user)
    try:
        wait_until(lambda: "there" in stray.log_text(), 10, "the stray listener")
        yield
    finally:
        stray.kill()


def test_listener_when_the_tunnel_user_holds_one_without_a_grant_then_it_is_found(lab: House) -> None:
    """A listener that the tunnel user opened beside everything of ours is named with its port, and its process with its title."""
    port = free_port()
    with listening(lab.relay_machine, port, TUNNEL_USER):
        assert any(f":{port} listens without a live grant" in fault for fault in stray_listeners(lab))
        assert any(str(port) in fault for fault in stray_processes(lab))
    wait_until(lambda: not stray_listeners(lab) + stray_processes(lab), 20, "both to be quiet again")


def test_listener_when_anybody_holds_a_doors_port_without_a_grant_then_it_is_found(lab: House) -> None:
    """Whoever it is: the port is a door's, and no session is live."""
    with listening(lab.relay_machine, lab.ports.door):
        assert [fault for fault in stray_listeners(lab) if f":{lab.ports.door} listens without a live grant" in fault]


def test_device_when_something_listens_or_runs_there_at_rest_then_each_is_found(lab: House, device: Device) -> None:
    """On a device whose door is shut there is the agent and nothing else: no listener, no process of root's, nothing an engineer left."""
    port = free_port()
    left = device.machine.start("/bin/sleep", "600", user=LOGIN_USER)
    try:
        left.pid  # noqa: B018  # it runs
        with listening(device.machine, port):
            assert f"{device.name}: 127.0.0.1:{port} listens" in stray_listeners(lab)
            found = stray_processes(lab)
        assert any("root: /usr/bin/python3" in fault for fault in found)
        assert any(f"{LOGIN_USER}: /bin/sleep 600" in fault for fault in found)
    finally:
        left.kill()


def test_group_when_a_sessions_is_left_then_it_is_found(lab: House, device: Device) -> None:
    """A door's control group that outlived its session is named."""
    if (session := lab.console.door(device.id)["session"]) is None:  # this test alone: no door was open yet
        lab.console.open_door(device.id)
        session = lab.console.wait_for_door(device.id, "open")["session"]
        lab.console.shut_and_wait(device.id)
    wait_until(lambda: not stray_processes(lab), 20, "nothing to be left of the last session")
    root = cgroup_root()
    assert root is not None
    left = root / f"doorward-{session}"
    left.mkdir()
    try:
        assert stray_processes(lab) == [f"{device.name}: control group {left}"]
    finally:
        left.rmdir()


def test_sides_when_the_relay_says_it_has_no_session_then_that_is_found(lab: House, device: Device) -> None:
    """A relay whose ledger lost a session that console and device call open is named."""
    lab.console.open_door(device.id)
    session = lab.console.wait_for_door(device.id, "open")["session"]
    lose_at_relay(lab, session)
    assert any("relay" in fault and session in fault for fault in disagreements(lab))


def lose_at_relay(lab: House, session: str) -> None:
    """Take a session out of the relay's database."""
    with closing(sqlite3.connect(lab.relay_machine.folder / "var/lib/doorward-relay/relay.db")) as store, store:
        store.execute("DELETE FROM live WHERE session = ?", (session,))


def test_sides_when_the_relay_has_lost_a_session_then_all_three_say_shut_soon(lab: House, device: Device) -> None:
    """Nobody tells the console: it compares, hears that the session is missing there, and tells the device to shut."""
    lab.console.open_door(device.id)
    session = lab.console.wait_for_door(device.id, "open")["session"]
    lab.stop("relay")
    lose_at_relay(lab, session)
    lab.restore()
    lab.console.wait_for_door(device.id, "shut", invariants.AGREE_S)
    all_hold(lab)


def test_sides_when_the_relay_still_has_what_the_console_believes_ended_then_the_relay_ends_it_soon(
    lab: House, device: Device
) -> None:
    """Nobody tells the relay to end it: the console compares, and what it does not list is ended there."""
    lab.console.open_door(device.id)
    session = lab.console.wait_for_door(device.id, "open")["session"]
    database = lab.console_machine.folder / "var/lib/doorward-console/console.sqlite3"
    with closing(sqlite3.connect(database, timeout=20)) as store, store:
        store.execute("UPDATE maintenance_grant SET state = 'ended' WHERE session_id = ?", (session,))
        store.execute("UPDATE maintenance_session SET state = 'closed', closed_at = opened_at WHERE id = ?", (session,))
    assert sightings.relay_status(lab)["live"]
    wait_until(lambda: not sightings.relay_status(lab)["live"], invariants.AGREE_S, "the relay to end it")
    all_hold(lab)


def test_sides_when_the_agent_is_gone_while_open_then_that_is_found(lab: House, device: Device) -> None:
    """A door whose agent is gone is no agreement, until the console itself says whose words differ."""
    lab.console.open_door(device.id)
    lab.console.wait_for_door(device.id, "open")
    assert device.agent is not None
    device.agent.kill()
    assert disagreements(lab)
    wait_until(lambda: lab.console.door(device.id)["disagreement"], 20, "the console to say who does not agree")
    assert not disagreements(lab)


def have_a_history(lab: House, device: Device) -> None:
    """Go through a session: a device that only started has sent nothing."""
    lab.console.open_door(device.id)
    lab.console.wait_for_door(device.id, "open")
    lab.console.shut_and_wait(device.id)
    wait_until(lambda: not history_faults(lab), 20, "the history to be whole")


def test_history_when_a_record_is_lost_doubled_or_moved_then_the_count_says_so(lab: House, device: Device) -> None:
    """The count finds each without the verifier, which finds it as well, and is quiet about the export as it came."""
    have_a_history(lab, device)
    lines = lab.export_history().read_text().splitlines()[1:]
    assert invariants.numbering_faults(lines) == []
    author = f"device:{device.id}"
    second, third = (line for line in lines if invariants.place_of(line) in {(author, 2), (author, 3)})
    lost = [line for line in lines if line != second]
    doubled = [same for line in lines for same in ([line, line] if line == second else [line])]
    moved = [{second: third, third: second}.get(line, line) for line in lines]
    for export, said in ((lost, "lost [2]"), (doubled, "doubled [2]"), (moved, "out of order")):
        assert invariants.numbering_faults(export) == [f"{author}: {said}"]


def test_history_when_a_row_is_gone_from_the_consoles_database_then_it_does_not_verify(
    lab: House, device: Device
) -> None:
    """A record that somebody deletes from the console's database, past its own triggers, is missed in the next export."""
    have_a_history(lab, device)
    database = lab.console_machine.folder / "var/lib/doorward-console/console.sqlite3"
    with closing(sqlite3.connect(database, timeout=20)) as store:
        put_back = cut_out(store, f"device:{device.id}")
        try:
            assert any("does not verify" in fault for fault in history_faults(lab))
        finally:
            put_back()
    wait_until(lambda: not history_faults(lab), 20, "the history to be whole again")


def cut_out(store: sqlite3.Connection, author: str, n: str = "2") -> Callable[[], None]:
    """Delete an author's record with a number, the second; gives what puts everything back."""
    with store:
        triggers = store.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'history_record'"
        )
        known = triggers.fetchall()
        row = store.execute(f"SELECT * FROM history_record WHERE author = ?1 AND n = {n}", (author,)).fetchone()
        for name, _ in known:
            store.execute(f"DROP TRIGGER {name}")
        store.execute(f"DELETE FROM history_record WHERE author = ?1 AND n = {n}", (author,))

    def put_back() -> None:
        with store:
            store.execute(f"INSERT INTO history_record VALUES ({','.join('?' * len(row))})", row)
            for _, sql in known:
                store.execute(sql)

    return put_back


def test_history_when_the_console_lacks_what_a_side_has_written_then_that_side_is_named(
    lab: House, device: Device
) -> None:
    """The newest record is taken from the console's database: its export ends one record early, and whoever wrote it knows more."""
    have_a_history(lab, device)
    database = lab.console_machine.folder / "var/lib/doorward-console/console.sqlite3"
    for author, said in ((f"relay:{lab.relay_id}", "the relay has"), (f"device:{device.id}", f"{device.name} has")):
        with closing(sqlite3.connect(database, timeout=20)) as store:
            put_back = cut_out(store, author, "(SELECT max(n) FROM history_record WHERE author = ?1)")
            try:
                assert any(fault.startswith(f"{said} written") for fault in history_faults(lab))
            finally:
                put_back()
        wait_until(lambda: not history_faults(lab), 20, "the history to be whole again")


def test_history_when_a_device_holds_another_record_than_the_console_then_it_is_named(
    lab: House, device: Device
) -> None:
    """One digit on the device's disk: the console's export still verifies, and the two histories differ."""
    have_a_history(lab, device)
    segment = min(device.machine.inside("/var/lib/doorward/journal").glob("*.jsonl"))
    at = segment.read_bytes().index(b'"uptime_ms":') + len(b'"uptime_ms":')
    digit = written_over(segment, at, b"9" if segment.read_bytes()[at : at + 1] != b"9" else b"8")
    try:
        assert f"{device.name} holds other records [1] than the console" in history_faults(lab)
    finally:
        written_over(segment, at, digit)
    wait_until(lambda: not history_faults(lab), 20, "the history to be whole again")


def written_over(path: Path, at: int, byte: bytes) -> bytes:
    """Change one byte in its place, whoever has the file open; gives the one that was there."""
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        was = file.read(1)
        file.seek(at)
        file.write(byte)
    return was


SWELLS: Final = """
import sys, threading, time
print("there", flush=True)
sys.stdin.readline()
held = [open("/dev/null") for _ in range(20)], bytes(range(256)) * 80_000
for _ in range(5): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("more", flush=True)
sys.stdin.readline()
"""


def test_weight_when_a_process_holds_more_than_before_then_each_kind_is_found() -> None:
    """A real one that takes 20 MB, five threads and twenty descriptors; a second look at one that took nothing is quiet."""
    with subprocess.Popen(  # with the test's own interpreter, as all of ours are
        [sys.executable, "-c", SWELLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stdout.readline() == "there\n"
        before = {"it": weight_of(one.pid)}
        assert growth(before, {"it": weight_of(one.pid)}) == []
        one.stdin.write("\n")
        one.stdin.flush()
        assert one.stdout.readline() == "more\n"
        faults = growth(before, {"it": weight_of(one.pid)})
        one.stdin.write("\n")
    assert [fault.split()[2] for fault in faults] == ["KiB", "threads", "descriptors"]


def test_weight_when_the_relay_holds_more_connections_than_at_first_then_the_soaks_scales_say_so(lab: House) -> None:
    """Thirty strangers who say nothing at its control port, for as long as they may."""
    scales = Scales()
    scales.note(lab)
    assert lab.network is not None
    strangers = lab.network.call(
        lambda: [socket.create_connection((lab.address, lab.ports.relay_control), 5) for _ in range(30)]
    )
    try:
        wait_until(
            lambda: any("relay: " in fault and "descriptors" in fault for fault in scales.grown(lab)),
            10,
            "it to be told",
        )
    finally:
        for one in strangers:
            one.close()
    scales.all_back(lab)
