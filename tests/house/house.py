"""The whole house: console, broker, relay and device on machines of their own, set up with doorward's own commands.

Everything is done as a person would do it: ``init``, ``install``, ``join``, a pasted line, a toggle. ``House`` is used by
``make smoke`` and by the tests in ``tests/flows``.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.house.api import Console, console_of
from tests.house.machine import CHECKOUT, PROGRAMS, Inside, Machine
from tests.house.network import Network
from tests.house.ports import Ports, read_banner, some_ports
from tests.parts.files import write_whole
from tests.parts.ports import is_listening
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until

OWNER = "aiko@example.com"
PASSWORD = "correct horse battery staple"
AGENT_USER = "doorward-agent"
LOGIN_USER = "remote-admin"
SSH_FAILED = 255
"""Status of ssh when the connection failed, and not the command (ssh(1))."""

AGENT_TOML = """\
runner = "sudo"
runner_command = ["/usr/bin/sudo", "-n", "{programs}/doorward-runner"]
runner_prepare_command = ["{programs}/doorward-runner", "prepare"]
runner_pin_command = ["{programs}/doorward-runner", "pin"]
tunnel = "{tunnel}"
"""


@dataclass(slots=True)
class Device:
    """A device of the house."""

    name: str
    machine: Machine
    id: str = field(default="")
    agent: Inside | None = field(default=None)

    def boot(self) -> None:
        """Switch the machine on and start the agent, as its init would."""
        self.machine.power_on()
        self.machine.must(PROGRAMS / "doorward-runner", "clear")
        # As RuntimeDirectory= of its unit does; without, the agent keeps what lives as long as a boot in its state folder.
        self.machine.must("/usr/bin/install", "-d", "-m", "700", "-o", AGENT_USER, "/run/doorward-agent")
        self.start_agent()

    def start_agent(self) -> None:
        self.agent = self.machine.start(PROGRAMS / "doorward-agent", "run", user=AGENT_USER)


@dataclass(slots=True)
class House:
    """A house in ``folder``; ``network`` is None on the host's loopback, ``tunnel`` is who dials on its devices, ``database`` a URL in place of SQLite."""

    folder: Path
    programs: Programs
    network: Network | None = None
    separate: bool = False
    tunnel: str = "auto"
    database: str = ""
    ports: Ports = field(default_factory=some_ports)
    parts: dict[str, Inside] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    relays: dict[str, Machine] = field(default_factory=dict)
    console_machine: Machine = field(init=False)
    console: Console = field(init=False)
    relay_id: str = field(init=False)
    key: Path = field(init=False)

    @property
    def device(self) -> Device:
        """The first device, ``pump-7``."""
        return self.devices["pump-7"]

    @property
    def relay_machine(self) -> Machine:
        """The first relay."""
        return self.relays["relay"]

    @property
    def address(self) -> str:
        """Where the relay is, and its doors."""
        return self.address_of("relay")

    def address_of(self, role: str) -> str:
        """Give the address of ``relay``, ``second-relay``, ``broker`` or ``console``."""
        return self.network.address_of(role) if self.network else "127.0.0.1"

    def _place_of(self, role: str) -> int:
        return self.network.place_of(role) if self.network else 0

    def build(self) -> None:
        """Set up and start broker, console and relay, pair them, and join one device, ``pump-7``."""
        self.build_console("--password-file", "/root/password")
        self.console = self._somebody()
        self.console.sign_in(OWNER, PASSWORD)
        self.relay_id = self.console.pair_relay("Basement", self.build_relay())
        self.add_device("pump-7", self.ports.door)

    def _machine(self, name: str, network: int) -> Machine:
        machine = Machine(name, self.folder / name, self.programs, network)
        machine.prepare()
        machine.power_on()
        return machine

    # -- console and broker

    def build_console(self, *password: str) -> str:
        """Set up and start broker and console with an empty project; gives what ``init`` printed."""
        machine = self.console_machine = self._machine("console", self._place_of("console"))
        address = self.address_of("console")
        write_whole(machine.folder / "root" / "password", PASSWORD + "\n", 0o600)
        said = machine.must(
            PROGRAMS / "doorward-console", "init",
            "--address", f"https://{address}:{self.ports.web}", "--listen", f"{address}:{self.ports.web}",
            "--broker", f"{self.address_of('broker')}:{self.ports.broker}", "--owner", OWNER, "--project", "Pumps",
            *password, *(["--separate"] if self.separate else []), *(["--database", self.database] if self.database else []),
        )  # fmt: skip
        machine.must(PROGRAMS / "doorward-console", "broker-config", "/etc/mosquitto/doorward")
        self.start_broker()
        for name in ("signer", "worker", "web"):
            self.start_console(name)
        wait_until(lambda: self.listens(self.ports.web, "console"), 20, "the console's web process")
        return said

    def _somebody(self) -> Console:
        root = self.console_machine.folder / "etc/doorward/root-ca.pem"
        return console_of(f"https://{self.address_of('console')}:{self.ports.web}", root, self.network)

    def person(self, email: str, role: str) -> Console:
        """Add a person to the project and sign in as that person, beside the owner."""
        password = self.console.add_member(email, role)
        person = self._somebody()
        person.sign_in(email, password)
        return person

    def start_broker(self) -> None:
        self.parts["broker"] = self.console_machine.start(
            "/usr/sbin/mosquitto", "-c", "/etc/mosquitto/doorward/mosquitto.conf", network=self._place_of("broker")
        )
        wait_until(lambda: self.listens(self.ports.broker, "broker"), 15, "the broker")

    def start_console(self, name: str) -> None:
        """Start one of the console's three processes, as its own user where they are separate."""
        user = f"doorward-{name}" if self.separate else None
        self.parts[name] = self.console_machine.start(PROGRAMS / "doorward-console", name, user=user, name=name)

    def listens(self, port: int, role: str = "relay") -> bool:
        """Tell whether something accepts at the address of ``relay``, ``broker`` or ``console``."""
        if self.network is None:
            return is_listening(port)
        return self.network.call(lambda: is_listening(port, self.address_of(role)))

    # -- relay

    def build_relay(self, role: str = "relay") -> str:
        """Set up and start a relay, ``relay`` or ``second-relay``; gives the line that it printed for the console."""
        machine = self.relays[role] = self._machine(role, self._place_of(role))
        said = machine.must(
            PROGRAMS / "doorward-relay", "install", "--host", self.address_of(role), "--ssh-port", str(self.ports.relay_ssh),
            "--control-port", str(self.ports.relay_control), "--ports", f"{self.ports.door}-{self.ports.named[-1]}", "--yes",
        )  # fmt: skip
        self.start_relay(role)
        line = next(line for line in said.splitlines() if line.strip().startswith("doorward-relay-1 "))
        return line.strip()

    def start_relay(self, role: str = "relay") -> None:
        self.parts[role] = self.relays[role].start(PROGRAMS / "doorward-relay", "run", "--with-sshd")
        wait_until(lambda: self.listens(self.ports.relay_control, role), 15, "the relay's control port")

    # -- devices

    def add_device(self, name: str, relay_port: int) -> Device:
        """Add a device in the console, carry the join string over, and start its agent."""
        device = self.build_device(name)
        device.id, line = self.console.add_device(name, self.relay_id, relay_port)
        device.machine.must(PROGRAMS / "doorward-agent", "join", stdin=f"{line}\n".encode())
        device.start_agent()
        self.console.wait_for_device(device.id, lambda said: said["presence"] == "connected")
        return device

    def build_device(self, name: str) -> Device:
        """Install a machine that has yet to join: users, configuration, the line for sudo."""
        device = self.devices[name] = Device(name, self._machine(name, self.network.device if self.network else 0))
        machine = device.machine
        machine.must("/usr/sbin/useradd", "--system", "--shell", "/usr/sbin/nologin", AGENT_USER)
        machine.must("/usr/sbin/useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", LOGIN_USER)
        etc = machine.folder / "etc"
        (etc / "doorward").mkdir(exist_ok=True)
        write_whole(etc / "doorward" / "agent.toml", AGENT_TOML.format(programs=PROGRAMS, tunnel=self.tunnel))
        write_whole(etc / "doorward" / "runner.toml", f'login_user = "{LOGIN_USER}"\nagent_user = "{AGENT_USER}"\n')
        rules = (CHECKOUT / "systemd/doorward-runner.sudoers").read_text()
        rules = rules.replace("/usr/bin/doorward-runner", f"{PROGRAMS}/doorward-runner")
        write_whole(etc / "sudoers.d" / "doorward-runner", rules, 0o440)
        return device

    # -- weather

    def stop(self, *names: str) -> None:
        """Kill parts of the house: ``broker``, ``signer``, ``worker``, ``web``, ``relay``."""
        for name in names:
            self.parts.pop(name).kill()

    def restore(self) -> None:
        """Bring back whatever a test took away, and wait until every device has been heard again."""
        is_news = "broker" not in self.parts
        since = datetime.now(timezone.utc).isoformat()
        if self.network:
            self.network.weather.restore()
        for name in ("broker", "signer", "worker", "web"):
            if name not in self.parts or not self.parts[name].is_running:
                self.start_broker() if name == "broker" else self.start_console(name)
        if "relay" not in self.parts or not self.parts["relay"].is_running:
            self.start_relay()
        wait_until(lambda: self.listens(self.ports.web, "console"), 20, "the console's web process")
        for device in self.devices.values():
            if device.machine.holder is None:
                device.boot()
            elif device.agent is None or not device.agent.is_running:
                device.start_agent()
            elif not is_news:
                continue
            self.console.wait_for_device(device.id, lambda said: (said["seen_at"] or "") > since, 60)

    def banner(self, port: int) -> str:
        """Read what answers on a port of the relay, as an engineer's ssh would see it; empty when nobody does."""
        return (
            self.network.call(lambda: read_banner(self.address, port))
            if self.network
            else read_banner(self.address, port)
        )

    # -- the engineer

    def make_keys(self) -> None:
        """Let the owner make the pair, and keep ``device-<id>.key`` as an engineer would."""
        pair = self.console.make_keys()
        self.key = write_whole(self.folder / "device.key", pair["device_key"]["content"], 0o600)

    def ssh_options(self, device_id: str) -> list[str]:
        """Give what the console prints for the engineer, as options of ssh, scp and sftp."""
        # A tunnel that was lost and is back may still be news to the console, which prints no line meanwhile.
        wait_until(lambda: self.console.door(device_id)["lines"], 15, "the engineer's lines")
        door = self.console.door(device_id)
        known = write_whole(self.folder / "known_hosts", door["lines"]["known_hosts"] + "\n")
        return [
            "-i", str(self.key), "-o", f"HostKeyAlias={device_id}", "-o", f"UserKnownHostsFile={known}",
            "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-F", "none",
        ]  # fmt: skip

    def engineer(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:
        """Run an engineer's program outside, and give its status and all it said."""
        wired = ["/usr/bin/nsenter", f"--net=/proc/{self.network.outside}/ns/net", "--"] if self.network else []
        done = run([*wired, *argv], stdin=stdin)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    def log_in(self, device: Device, command: str, port: int | None = None) -> tuple[int, str]:
        """Log in at a device's door with the plain ssh client, and run a command; where ssh could not, what was said has the story."""
        options = self.ssh_options(device.id)
        target = f"{LOGIN_USER}@{self.address}"
        status, said = self.engineer(["/usr/bin/ssh", *options, "-p", str(port or self.ports.door), target, command])
        return status, said if status != SSH_FAILED else f"{said}\n{self.story()}"

    def story(self, most: int = 40) -> str:
        """Give the newest records of all chains as they came in, one a line: for a failure that nobody was there to see."""
        lines = self.console.export_history().splitlines()[1:]
        payloads = [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in lines]
        newest = sorted(payloads, key=lambda one: one["at"] or 0)[-most:]
        return "\n".join(f"{one['at']} {one['author']} {one['verb']} {one['session']} {one['data']}" for one in newest)

    def export_history(self) -> Path:
        """Write the project's history into a file, as the owner would download it."""
        return write_whole(self.folder / "history.jsonl", self.console.export_history())

    def verify_history(self, export: Path) -> dict[str, object]:
        """Check an export offline; fails when it does not verify."""
        done = run([PROGRAMS / "doorward-console", "verify-history", export, "--json"])
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """End everything; folders are whoever made them's."""
        if hasattr(self, "console"):
            self.console.close()
        if self.network:
            self.network.close()
        self.programs.end_all()

    def logs(self) -> str:
        """Give the ends of all logs, for a failing test."""
        logs = sorted(self.programs.scratch.glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
