"""How sessions end on the relay: at once, alone, for good; and how a port comes back to its device."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until
from tests.relay.conftest import Door
from tests.relay.relaying import TUNNEL_USER, Console, Device, Relay, listeners_on, of_managed

Dial = Callable[[str], Device]
MakeDoor = Callable[[str], Door]


def _open(relay: Relay, console: Console, dial: Dial, *, lasts_s: float = 600) -> tuple[str, Device]:
    """Open a session on the relay's first port as far as the forward."""
    grant = console.granted(relay.ports[0], lasts_s=lasts_s)
    device = dial(grant.session)
    device.dial()
    assert device.forward(relay.ports[0], 9) == 0
    console.wait_for_verb("tunnel.up", grant.session)
    return grant.session, device


@pytest.mark.feature("B5")
@pytest.mark.feature("E9")
def test_a_device_when_its_old_connection_is_frozen_then_the_new_one_gets_the_port_by_hello(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Newest wins: the zombie that holds the port is ended within seconds and the forward is granted when asked again."""
    grant = console.granted(relay.ports[0])
    old, new = dial(grant.session), dial(grant.session)
    frozen = old.dial()
    assert old.forward(relay.ports[0], 9) == 0
    frozen.signal(signal.SIGSTOP)
    new.dial()
    assert new.forward(relay.ports[0], 9) == 255

    began = time.monotonic()
    assert new.hello() == {"code": "relay.port-freed", "next": "Nothing: the device asks for the port again."}
    assert new.forward(relay.ports[0], 9) == 0
    assert time.monotonic() - began < 5
    assert new.ask("check") == 0
    assert console.wait_for_verb("tunnel.replaced", grant.session).fact.data["ports"] == [relay.ports[0]]


@pytest.mark.feature("B5")
@pytest.mark.threat("device-foreign-ports")
def test_a_hello_when_it_is_of_another_session_then_nobody_else_loses_a_port(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """A device can take back its own port and nobody else's."""
    session, device = _open(relay, console, dial)
    other = console.granted(relay.ports[1])
    stranger = dial(other.session)
    stranger.dial()

    assert stranger.hello()["code"] == "relay.port-freed"
    assert device.ask("check") == 0
    assert listeners_on(relay.ports[0])
    assert console.verbs(session).count("tunnel.replaced") == 0


@pytest.mark.feature("B4")
@pytest.mark.threat("ends-relay-alone")
@pytest.mark.threat("tunnel-after-end")
def test_a_session_when_nobody_calls_then_it_ends_at_its_end(relay: Relay, console: Console, dial: Dial) -> None:
    """The relay closes alone: without the console, by its own clock, also what was connected before."""
    session, device = _open(relay, console, dial, lasts_s=4)

    wait_until(lambda: not listeners_on(relay.ports[0]), 10, "the end of the session")
    wait_until(lambda: device.ask("check") != 0, 5, "the end of the connection")
    assert console.wait_for_verb("grant.ending", session).fact.data == {"why": "expired"}
    console.wait_for_verb("tunnel.down", session)
    assert "listener.surplus" not in console.verbs()


@pytest.mark.threat("tunnel-after-end")
def test_a_session_when_it_ended_then_a_connection_that_held_nothing_cannot_take_the_port(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Who logged in while the grant lived, and asked for nothing yet, does not get the port after its end."""
    grant = console.granted(relay.ports[0])
    waiting, idle = dial(grant.session), dial(grant.session)
    waiting.dial()
    idle.dial()
    assert console.end(grant.session).status_code == 200

    waiting.forward(relay.ports[0], 9)
    wait_until(lambda: not listeners_on(relay.ports[0]), 4, "the surplus listener's end")
    wait_until(lambda: waiting.ask("check") != 0, 5, "the end of the connection that asked")
    wait_until(lambda: idle.ask("check") != 0, 20, "the end of the one that did not ask")


@of_managed
@pytest.mark.feature("B1")
@pytest.mark.threat("tunnel-other-port")
def test_a_listener_when_no_grant_covers_it_then_it_is_found_ended_and_recorded(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """The watch compares the kernel's listening sockets with the grants, whatever sshd's own permission said."""
    grant = console.granted(relay.ports[0])
    device = dial(grant.session)
    principals = relay.folder / "run/principals"
    granted = principals.read_text()
    principals.write_text(granted.replace(f"*:{relay.ports[0]}", f"*:{relay.ports[5]}"))
    device.dial()
    device.forward(relay.ports[5], 9)

    wait_until(lambda: not listeners_on(relay.ports[5]), 5, "the surplus listener's end")
    assert console.wait_for_verb("listener.surplus").fact.data["port"] == relay.ports[5]


def test_a_session_when_the_console_lists_it_no_more_then_reconcile_ends_it(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """What is missing from the console's list ends; what is newer than the list stays."""
    session, _ = _open(relay, console, dial)
    as_of = console.seq
    newer = console.granted(relay.ports[1])

    body = {"epoch": 0, "as_of": as_of, "sessions": ["s-aaaaaaaaaaaaaaaa"]}
    answer = console.call("POST", "/v1/reconcile", body).json()
    assert answer == {"ended": [session], "missing": ["s-aaaaaaaaaaaaaaaa"]}
    wait_until(lambda: not listeners_on(relay.ports[0]), 5, "the port")
    assert console.get("/v1/records").json()["live"] == [newer.session]


STRANGER = "nobody"
"""Any user of the relay's machine who is neither root nor the tunnel user."""


@of_managed
@pytest.mark.threat("device-foreign-ports")
@pytest.mark.parametrize(
    ("user", "mode", "code"),
    [
        (STRANGER, None, "relay.unavailable"),
        (STRANGER, 0o666, "relay.grant-ended"),
        (None, None, "relay.grant-ended"),
        (TUNNEL_USER, None, "relay.grant-ended"),
    ],
    ids=["stranger", "stranger-where-all-may-connect", "root", "tunnel-user-without-a-connection"],
)
def test_a_hello_when_it_does_not_come_through_a_tunnel_then_it_moves_nothing(
    relay: Relay, console: Console, dial: Dial, user: str | None, mode: int | None, code: str
) -> None:
    """Who asks is read from the kernel: naming a session is not enough, nor is being root, nor the right user.

    The socket's mode keeps strangers from it, their uid would, and who asks must descend from a device's connection.
    """
    session, device = _open(relay, console, dial)
    there = relay.folder / "run"
    if mode is not None:
        (there / "hello.sock").chmod(mode)
    said = run(["/usr/bin/python3", there / "hello.py", "--socket", there / "hello.sock", session], user=user).stdout
    assert json.loads(said)["code"] == code
    assert device.ask("check") == 0
    assert listeners_on(relay.ports[0])


def test_a_grant_when_its_session_was_ended_before_it_came_then_it_is_refused(relay: Relay, console: Console) -> None:
    """Ending a session that the relay has not heard of is remembered: its grant comes too late."""
    late = console.grant(relay.ports[0])
    assert console.end(late.session).json()["closed"] is True

    refused = console.put(late)
    assert (refused.status_code, refused.json()["code"]) == (409, "grant.session-ended")
    assert not relay.admits(late.session)


def test_a_grant_when_it_is_put_twice_then_the_second_is_a_success_and_a_lower_one_refused(
    relay: Relay, console: Console
) -> None:
    """The same envelope again changes nothing; an older sequence never passes."""
    older, newer = console.grant(relay.ports[0]), console.grant(relay.ports[1])
    envelope = {"grant": console.envelope(newer)}

    first = console.call("PUT", f"/v1/grants/{newer.session}", envelope)
    again = console.call("PUT", f"/v1/grants/{newer.session}", envelope)
    assert [one.json() for one in (first, again)] == [{"session": newer.session, "seq": 2}] * 2
    assert console.put(older).json()["code"] == "grant.lower-sequence"
    assert console.verbs().count("grant.accepted") == 1


@pytest.mark.feature("B2")
@pytest.mark.feature("P11")
@pytest.mark.threat("worker-signs")
def test_a_grant_when_a_stranger_signed_it_then_it_is_refused_and_counted(relay: Relay, console: Console) -> None:
    """Whoever holds the control certificate still needs the grant key; equal refusals are counted, not repeated."""
    honest = console.grant_key
    console.grant_key = console.record_key
    answers = {console.put(console.grant(relay.ports[0])).json()["code"] for _ in range(3)}
    console.grant_key = honest

    assert answers == {"grant.unknown-key"}
    assert console.verbs().count("grant.refused") == 1


@of_managed
@pytest.mark.threat("dead-daemon")
def test_the_daemon_when_it_is_killed_then_what_was_granted_still_ends_and_nothing_new_is_admitted(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Closed when our code is dead: sshd goes on alone and each line of its permission carries its own end."""
    grant = console.granted(relay.ports[0], lasts_s=5)
    assert relay.daemon is not None
    relay.daemon.kill()
    early = dial(grant.session)
    client = early.dial()
    assert early.hello()["code"] == "relay.unavailable"
    client.end()

    wait_until(lambda: time.time() * 1000 > grant.ends_at + 100, 10, "the grant's end")
    late = dial(grant.session).attempt("-v", "-N", early.target)
    assert late.returncode == 255
    assert "Permission denied" in late.stderr.decode()


@of_managed
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_daemon_when_it_is_started_again_then_live_tunnels_are_kept_and_can_be_ended(
    relay: Relay, console: Console, dial: Dial, door: MakeDoor, how: str
) -> None:
    """A restart of the daemon costs nobody a session, and the new one knows the old one's tunnels."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    device.dial()
    assert device.forward(relay.ports[0], behind.port) == 0
    assert relay.daemon is not None
    relay.daemon.kill() if how == "killed" else relay.daemon.end()
    relay.start_daemon()

    assert device.ask("check") == 0
    assert console.call("POST", f"/v1/probe/{grant.session}").json()["open"] is True
    assert console.end(grant.session).status_code == 200
    assert listeners_on(relay.ports[0]) == []


@of_managed
def test_sshd_when_its_master_died_then_its_sessions_can_still_be_ended(
    relay: Relay, console: Console, dial: Dial
) -> None:
    """Killing sshd's master leaves its sessions alive; the relay finds them all the same."""
    session, device = _open(relay, console, dial)
    assert relay.sshd is not None
    relay.sshd.kill()

    assert device.ask("check") == 0
    assert console.end(session).json()["ports_free"] is True
    wait_until(lambda: device.ask("check") != 0, 5, "the connection's end")


def test_an_end_when_something_else_keeps_the_port_then_it_is_not_called_closed(
    relay: Relay, console: Console, programs: Programs, scratch: Path
) -> None:
    """Closed means that nothing listens any more; who does is named in the history."""
    grant = console.granted(relay.ports[0])
    code = f"import socket,time; s=socket.create_server(('',{relay.ports[0]})); time.sleep(60)"
    squatter = programs.start("/usr/bin/python3", "-c", code, name="squatter")
    squatter.wait_for_port(relay.ports[0])

    answer = console.end(grant.session)
    assert (answer.status_code, answer.json()["code"]) == (503, "relay.not-closed")
    assert str(squatter.pid) in json.dumps(console.wait_for_verb("grant.ended").fact.data)
    assert squatter.is_running
    squatter.end()
    assert console.end(grant.session).json()["closed"] is True


def test_a_grant_when_somebody_listens_on_its_port_then_it_is_refused(
    relay: Relay, console: Console, programs: Programs
) -> None:
    """A port is given to nobody while anyone still listens on it."""
    code = f"import socket,time; s=socket.create_server(('127.0.0.1',{relay.ports[0]})); time.sleep(60)"
    squatter = programs.start("/usr/bin/python3", "-c", code, name="squatter")
    squatter.wait_for_port(relay.ports[0])

    assert console.put(console.grant(relay.ports[0])).json()["code"] == "relay.port-busy"
    squatter.end()
    assert console.put(console.grant(relay.ports[0])).status_code == 200
    assert console.put(console.grant(relay.ports[0])).json()["code"] == "grant.port-taken"
    assert console.put(console.grant(relay.ports[-1] + 1)).json()["code"] == "grant.port-not-allowed"
