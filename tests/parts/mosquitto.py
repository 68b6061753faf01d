"""Real brokers on loopback, Mosquitto first of all: TLS, client certificates, and the topic rights of docs/protocol.md §2."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts.certificates import Authority, Credentials, make_root
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Program, Programs


@dataclass(slots=True)
class Broker:
    """A broker that can be ended and started again on the same port.

    Attributes:
        root: the CA that it trusts and whose server certificate it shows.
        devices: one project's device CA, an intermediate under ``root``.
        ca_file: the root's certificate, for clients.
        command: what is started; Mosquitto itself, or what stands in for it in a trial (``tests.parts.trial_broker``).
    """

    programs: Programs
    folder: Path
    port: int
    root: Authority
    devices: Authority
    command: tuple[str | Path, ...]
    host: str = "127.0.0.1"
    program: Program | None = field(default=None)

    @property
    def ca_file(self) -> Path:
        return self.folder / "root.crt"

    def client(self, name: str) -> Credentials:
        """Issue the certificate of a device id or of a replica such as ``worker-1``."""
        return self.devices.client(name)

    def start(self) -> None:
        """Start the broker and wait until it accepts."""
        self.program = self.programs.start(*self.command, name="broker")
        self.program.wait_for_port(self.port)

    def stop(self) -> None:
        """End the broker; clients see their connection break."""
        if self.program is not None:
            self.program.end()
            self.program = None

    def peak_bytes(self) -> int:
        """Give the most memory that the running broker ever had (proc(5), VmHWM)."""
        assert self.program is not None
        lines = Path(f"/proc/{self.program.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def log_text(self) -> str:
        """Give what the running broker has logged."""
        return "" if self.program is None else self.program.log_text()


def start_mosquitto(programs: Programs, folder: Path, replicas: Sequence[str] = ("worker-1", "worker-2")) -> Broker:
    """Write a configuration into ``folder`` and start a broker with it."""
    command = (require("mosquitto"), "-c", folder / "mosquitto.conf")
    folder.mkdir(mode=0o711, exist_ok=True)
    root = make_root()
    broker = Broker(programs, folder, free_port(), root, root.intermediate("doorward test device CA"), command)
    write_whole(folder / "root.crt", root.pem)
    root.server().write(folder, "server")
    write_whole(folder / "acl", acl(replicas))
    write_whole(folder / "mosquitto.conf", configuration(folder, broker.port))
    broker.start()
    return broker


def configuration(folder: Path, port: int) -> str:
    """Write mosquitto.conf(5): a name is what the certificate says, and nothing else counts."""
    return f"""\
user root
persistence false
log_dest stderr
log_type all
connection_messages true
max_packet_size 262144
set_tcp_nodelay true
listener {port} 127.0.0.1
allow_anonymous false
cafile {folder}/root.crt
certfile {folder}/server.crt
keyfile {folder}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {folder}/acl
"""


def acl(replicas: Sequence[str]) -> str:
    """Write the rights: a device has its own topics, a replica has all of them."""
    of_replicas = [f"user {name}\ntopic readwrite doorward/v1/device/#\n" for name in replicas]
    patterns = [f"pattern write doorward/v1/device/%u/{leaf}\n" for leaf in ("ask", "record", "presence")]
    patterns += [f"pattern read doorward/v1/device/%u/{leaf}\n" for leaf in ("order", "receipt")]
    return "\n".join(of_replicas) + "\n" + "".join(patterns)
