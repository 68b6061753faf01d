"""The real world of one agent: every edge of ``contracts``, built from the configuration. Called by ``commands`` alone."""

from pathlib import Path

from doorward_agent.config import Config
from doorward_agent.contracts import Edges, Post, Store
from doorward_agent.edges.broker import BrokerAddress, BrokerEdge
from doorward_agent.edges.journal import JournalOnDisk
from doorward_agent.edges.rehearsing import RehearsalEdge
from doorward_agent.edges.runner import RunnerEdge
from doorward_agent.edges.system import Machine, SystemClock
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.identity import Identity


def edges_of(config: Config, identity: Identity, folder: Path, store: Store, post: Post) -> Edges:
    """Build them; ``folder`` is the one for this boot. Their threads start, and nothing is dialled yet."""
    return Edges(
        clock=SystemClock(),
        system=Machine(config),
        broker=BrokerEdge(identity.device, _address(config, identity), post),
        runner=RunnerEdge(config, post),
        tunnel=TunnelEdge(config, folder, post),
        rehearser=RehearsalEdge(config, folder, post),
        journal=JournalOnDisk(config.state_dir / "journal"),
        store=store,
    )


def _address(config: Config, identity: Identity) -> BrokerAddress:
    state = config.state_dir
    own = (state / "mqtt-ca.pem", state / "mqtt.pem", state / "mqtt.key")
    return BrokerAddress(identity.mqtt_host, identity.mqtt_port, *own, config.keepalive_s)
