"""What else one might leave running on a device, idle on the same computer: autossh with its ssh, and a Node MQTT client on TLS.

Each is measured where it is installed (Debian's ``autossh``; ``nodejs`` with ``npm install -g mqtt``); the figure is all processes of it.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.door_open import dial_words
from bench.memory import total_pss_mib
from tests.parts.files import write_whole
from tests.parts.mosquitto import start_mosquitto
from tests.parts.ports import free_port
from tests.parts.processes import PLAIN_ENVIRONMENT, Program, Programs
from tests.parts.sshd import make_ssh_key, start_sshd

Read = Callable[[Callable[[], float]], float]
"""Reads a value once it is steady."""
_NODE: Final = """
const fs = require("fs"), [port, ca, cert, key] = process.argv.slice(1);
const read = (path) => fs.readFileSync(path);
const client = require("mqtt").connect(`mqtts://127.0.0.1:${port}`, {ca: read(ca), cert: read(cert), key: read(key), clientId: "d-anchor"});
client.on("connect", () => client.subscribe("doorward/v1/device/d-anchor/order", () => console.log("subscribed")));
"""


def autossh_mib(programs: Programs, folder: Path, steady: Read) -> float | None:
    """Measure autossh and the ssh that it keeps, with one remote forward; None where it is not installed."""
    program = shutil.which("autossh")
    if program is None:
        return None
    folder.mkdir(mode=0o711)
    relay = start_sshd(programs, folder / "relay", [make_ssh_key(folder / "key")], ["AllowTcpForwarding remote"])
    write_whole(folder / "known_hosts", relay.known_hosts())
    port = free_port()
    kept = programs.start(program, "-M", "0", *dial_words(folder, relay, port, relay.port)[1:], name="autossh")
    kept.wait_for_port(port)
    return _measured(kept, steady)


def node_mqtt_mib(programs: Programs, folder: Path, steady: Read) -> float | None:
    """Measure Node with the ``mqtt`` package, connected and subscribed; None where they are not installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    packages = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True, timeout=30).stdout
    if not (Path(packages.strip()) / "mqtt").is_dir():
        return None
    broker = start_mosquitto(programs, folder)
    certificate, key = broker.client("d-anchor").write(folder, "d-anchor")
    environment = {**PLAIN_ENVIRONMENT, "NODE_PATH": packages.strip()}
    arguments = ("-e", _NODE, str(broker.port), folder / "root.crt", certificate, key)
    started = programs.start(node, *arguments, name="node", env=environment)
    started.wait_for_log("subscribed")
    try:
        return _measured(started, steady)
    finally:
        broker.stop()


def _measured(program: Program, steady: Read) -> float:
    try:
        return steady(lambda: total_pss_mib([program.pid, *_children(program.pid)]))
    finally:
        program.end()


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
