"""A relay looks for no garbage while it loads, and from then on it does: it stays for months."""

import os
import signal
import sys

from tests.parts.waiting import wait_until
from tests.relay.relaying import Relay

TELLING = """
import gc, signal
signal.signal(signal.SIGUSR2, lambda *_: print("garbage is looked for:", gc.isenabled(), flush=True))
from doorward_relay.__main__ import main
main()
"""


def test_daemon_when_it_serves_then_it_looks_for_garbage(relay: Relay) -> None:
    """What goes in circles would else stay for ever."""
    assert relay.daemon is not None
    relay.daemon.end()
    told = relay.programs.start(sys.executable, "-c", TELLING, relay.verb, "--config", relay.config_file, name="relay")
    told.wait_for_port(relay.control_port)
    os.kill(told.pid, signal.SIGUSR2)
    wait_until(lambda: "garbage is looked for: True\n" in told.log_text())
