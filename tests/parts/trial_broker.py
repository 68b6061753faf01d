"""``doorward-console broker`` on loopback: what stands in for Mosquitto in a trial, with the same certificates and rules."""

import sys
from pathlib import Path

from tests.parts.certificates import make_root
from tests.parts.files import write_whole
from tests.parts.mosquitto import Broker
from tests.parts.ports import free_port
from tests.parts.processes import Programs


def start_trial_broker(programs: Programs, folder: Path) -> Broker:
    """Write what ``init`` would have written for a broker into ``folder``, and start the broker."""
    folder.mkdir(mode=0o711, exist_ok=True)
    root, port = make_root(), free_port()
    config = folder / "console.toml"
    command = (sys.executable, "-m", "doorward_console", "--config", config, "broker")
    broker = Broker(programs, folder, port, root, root.intermediate("doorward test device CA"), command)
    write_whole(broker.ca_file, root.pem)
    certificate, key = root.server().write(folder, "server")
    certificate.rename(folder / "broker.pem")
    key.rename(folder / "broker.key")
    write_whole(config, f'broker_ca = "{broker.ca_file}"\nbroker_port = {port}\n')
    broker.start()
    return broker
