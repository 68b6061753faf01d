"""One daemon on a relay's state, however the one before ended."""

import os

import pytest

from tests.parts.ports import is_listening
from tests.parts.terminal import typed
from tests.relay.relaying import EMBEDDED, MANAGED, PROGRAM, Relay


def serves(relay: Relay) -> bool:
    return is_listening(relay.control_port) and is_listening(relay.ssh_port)


@pytest.mark.feature("T13")
def test_relay_when_another_daemon_runs_then_the_second_says_so_in_its_terminal(relay: Relay) -> None:
    """Two on one ledger would end each other's sessions: the second names the first and what to do, and the first goes on."""
    assert relay.daemon is not None
    status, shown = typed(PROGRAM, relay.verb, "--config", relay.config_file)
    assert (status, f"process {relay.daemon.pid}:" in shown) == (os.EX_TEMPFAIL, True), shown
    assert "end it first: systemctl stop doorward-relay" in shown
    assert shown.count("\n") == 1
    assert serves(relay)


@pytest.mark.feature("T13")
def test_relay_when_the_second_has_another_run_folder_then_it_is_refused_all_the_same(relay: Relay) -> None:
    """What two daemons must not share is the ledger."""
    text = relay.config_file.read_text()
    other = relay.folder / "other.toml"
    other.write_text(text.replace(f'{relay.folder}/run"', f'{relay.folder}/run2"'))
    assert other.read_text() != text
    assert typed(PROGRAM, relay.verb, "--config", other)[0] == os.EX_TEMPFAIL


@pytest.mark.feature("T13")
@pytest.mark.parametrize("kind", [MANAGED, EMBEDDED], indirect=True)
def test_relay_when_killed_then_the_next_daemon_is_not_taken_for_a_second(relay: Relay) -> None:
    """The lock is the kernel's: it goes with the process, also beside an sshd that stays."""
    assert relay.daemon is not None
    killed = relay.daemon
    killed.kill()
    lock = relay.folder / "state/lock"
    assert lock.read_text() == f"{killed.pid}\n"
    lock.write_text(f"{os.getpid()}\n")
    assert serves_anew(relay)
    assert lock.read_text() != f"{os.getpid()}\n"


def serves_anew(relay: Relay) -> bool:
    return relay.start_daemon().is_running and serves(relay)
