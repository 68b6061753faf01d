"""A day of the real agent without its broker, in minutes: started by ``footprint`` on a joined device, broker ended.

Everything is the agent's own: machine, history, journal on disk, paho with TLS, runner, tunnel. Only its clock is ours: where the agent
would wait, the clock jumps to the end of that wait. Prints one JSON object: dials, the longest time between two, memory
after the first of them and at the day's end.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from doorward_agent import effects as do
from doorward_agent.config import Config, config_from_file
from doorward_agent.contracts import Edges
from doorward_agent.edges.broker import BrokerAddress, BrokerEdge
from doorward_agent.edges.files import DocumentStore
from doorward_agent.edges.folders import made_runtime_dir
from doorward_agent.edges.journal import JournalOnDisk
from doorward_agent.edges.libcrypto import found
from doorward_agent.edges.rehearsing import RehearsalEdge
from doorward_agent.edges.runner import RunnerEdge
from doorward_agent.edges.system import Machine, SystemClock
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import BrokerLost
from doorward_agent.identity import NAME, identity_from_document
from doorward_agent.mailbox import Mailbox
from doorward_agent.runtime import Runtime
from doorward_agent.signing import Signing

from bench.memory import pss_mib

FIRST_DIALS: Final = 20
"""Until then caches fill: what grows after it is growth."""
DIAL_LIMIT_S: Final = 20.0


class MovedClock(SystemClock):
    """The kernel's clocks, ahead by what was skipped."""

    skipped_ms = 0

    def boottime_ms(self) -> int:
        return super().boottime_ms() + self.skipped_ms

    def wall_ms(self) -> int:
        return super().wall_ms() + self.skipped_ms


def agent(config: Config, clock: MovedClock, mailbox: Mailbox) -> Runtime:
    """Build the agent as ``doorward-agent run`` does, on another clock."""
    state, folder = config.state_dir, made_runtime_dir(config)
    store = DocumentStore(state, folder)
    identity = identity_from_document(store.load(NAME) or {})
    files = (state / "mqtt-ca.pem", state / "mqtt.pem", state / "mqtt.key")
    address = BrokerAddress(identity.mqtt_host, identity.mqtt_port, *files, config.keepalive_s)
    edges = Edges(
        clock=clock,
        system=Machine(config),
        broker=BrokerEdge(identity.device, address, mailbox.post),
        runner=RunnerEdge(config, mailbox.post),
        tunnel=TunnelEdge(config, folder, mailbox.post),
        rehearser=RehearsalEdge(config, folder, mailbox.post),
        journal=JournalOnDisk(state / "journal"),
        store=store,
    )
    signing = Signing(identity, config.longest_session_s, config.login_user, (state / "identity_key").read_bytes, found)
    return Runtime(identity, signing, edges, "bench", config.journal_max_bytes)


def main(hours: float) -> int:
    logging.disable(logging.CRITICAL)
    clock, mailbox = MovedClock(), Mailbox()
    runtime = agent(config_from_file(Path("/etc/doorward/agent.toml")), clock, mailbox)
    runtime.start()
    dials, first_mib, dialled_ms, longest_ms = 0, 0.0, clock.boottime_ms(), 0
    while clock.skipped_ms < hours * 3_600_000:
        is_pausing = do.LINK_RETRY in runtime.timers
        event = mailbox.take(0 if is_pausing else DIAL_LIMIT_S)
        if event is not None:
            runtime.handle(event)
            if isinstance(event, BrokerLost):
                dials, now_ms = dials + 1, clock.boottime_ms()
                dialled_ms, longest_ms = now_ms, max(longest_ms, now_ms - dialled_ms)
            if dials == FIRST_DIALS and not first_mib:
                first_mib = pss_mib_of_ourselves()
        elif is_pausing:
            clock.skipped_ms += round(runtime.wait_s * 1000) + 1
        runtime.fire_timers()
    longest_ms = max(longest_ms, clock.boottime_ms() - dialled_ms)
    found = {"dials": dials, "longest_s": longest_ms / 1000, "first_mib": first_mib, "last_mib": pss_mib_of_ourselves()}
    print(json.dumps(found), flush=True)
    return 0


def pss_mib_of_ourselves() -> float:
    return pss_mib("self")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
