"""One trial: broker, console, relay and a device on loopback, set up with doorward's own commands, as a person would.

Everything lies in one folder and belongs to one ordinary user. What it is made of is said by ``parts``.
"""

import os
import pwd
import secrets
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.children import Child, Children, ours
from demo.console import Console
from demo.parts import Parts, found

OWNER: Final = "you@example.com"
PROJECT: Final = "Demo"
DEVICE: Final = "pump-7"
HOST: Final = "127.0.0.1"
_PORTS: Final = 5
_DOORS: Final = 2

_PLAIN: Final = """\
ListenAddress {host}
Port {port}
HostKey "{place}/host_key"
AuthorizedKeysFile "{place}/authorized_keys"
PidFile none
UsePAM no
PasswordAuthentication no
# The folder may stand below /tmp, which others may write to.
StrictModes no
PubkeyAuthentication yes
GatewayPorts yes
ClientAliveInterval 30
ClientAliveCountMax 3
"""
"""The last four lines are what a plain relay needs; the others let an ordinary user run one of its own."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on loopback."""

    web: int
    broker: int
    relay_ssh: int
    relay_control: int
    door: int


@dataclass(slots=True)
class Trial:
    """A trial in ``folder``; ``build`` starts it, ``close`` ends it."""

    folder: Path
    parts: Parts
    say: Say
    children: Children = field(init=False)
    ports: Ports = field(init=False)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    user: str = field(default_factory=lambda: pwd.getpwuid(os.geteuid()).pw_name)
    console: Console = field(init=False)
    device: str = field(init=False)

    def __post_init__(self) -> None:
        """Choose ports; nothing is started."""
        self.children = Children(self.folder)
        self.ports = Ports(*free_ports(_PORTS))

    @property
    def address(self) -> str:
        return f"https://localhost:{self.ports.web}"

    @property
    def key(self) -> Path:
        """The engineer's private key, as the owner downloads it."""
        return self.folder / "device.key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def build(self) -> None:
        """Set everything up; raises Failed, with what went wrong."""
        self.say("console: database, keys, first owner and project")
        self._init()
        self.say(f"broker: {self.parts.said()['broker']}")
        self._start_broker()
        self.say("console: signer, worker, web")
        self._start_console()
        pair = self.console.make_keys()
        write_secret(self.key, pair["device_key"]["content"])
        self.say(f"relay: {self.parts.said()['relay']}")
        relay = (
            self._start_embedded_relay()
            if self.parts.relay_sshd is None
            else self._start_plain_relay(self.parts.relay_sshd)
        )
        self.say(f"device: door {self.parts.said()['door']}, tunnel {self.parts.said()['tunnel']}")
        self._start_device(relay)

    def close(self) -> None:
        """End every program; a door that is open ends with the folder (``scratch.end_marked``)."""
        if hasattr(self, "console"):
            self.console.close()
        self.children.end_all()

    # -- the console and its broker

    @property
    def _config(self) -> Path:
        return self.folder / "console" / "console.toml"

    def _console_command(self, *words: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
        return [*ours("doorward-console", "--config", self._config), *words]

    def _init(self) -> None:
        place = self._config.parent
        write_secret(self.folder / "password", self.password + "\n")
        self.children.run(
            *ours("doorward-console"), "init", "--config-dir", place, "--data-dir", place / "data", "--run-dir", place / "run",
            "--address", self.address, "--listen", f"{HOST}:{self.ports.web}", "--broker", f"localhost:{self.ports.broker}",
            "--owner", OWNER, "--project", PROJECT, "--password-file", self.folder / "password",
        )  # fmt: skip

    def _start_broker(self) -> None:
        if self.parts.mosquitto is None:
            broker = self.children.start("broker", *self._console_command("broker", "--listen", HOST))
        else:
            place = self.folder / "mosquitto"
            self.children.run(*self._console_command("broker-config", place))
            broker = self.children.start("broker", self.parts.mosquitto, "-c", place / "mosquitto.conf")
        self._wait_for_port(broker, self.ports.broker)

    def _start_console(self) -> None:
        started = [self.children.start(name, *self._console_command(name)) for name in ("signer", "worker", "web")]
        self._wait_for_port(started[-1], self.ports.web)
        self.console = Console(self.address, self._config.parent / "root-ca.pem")
        self.console.sign_in(OWNER, self.password)
        # A door of an ordinary user's opens that user's own account.
        self.console.patch(f"/projects/{self.console.project}", login_user=self.user)

    def _wait_for_port(self, child: Child, port: int) -> None:
        self.children.wait(child, lambda: is_listening(port), f"{child.name} on port {port}")

    # -- the relay

    def _start_embedded_relay(self) -> str:
        place = self.folder / "relay"
        place.mkdir()
        config, ports = place / "relay.toml", self.ports
        said = self.children.run(
            *ours("doorward-relay"), "install", "--embedded", "--config", config, "--host", HOST, "--listen", HOST,
            "--ssh-port", str(ports.relay_ssh), "--control-port", str(ports.relay_control),
            "--ports", f"{ports.door}-{ports.door + _DOORS - 1}", "--state-dir", place / "state", "--run-dir", place / "run", "--yes",
        )  # fmt: skip
        relay = self.children.start("relay", *ours("doorward-relay", "serve", "--config", config))
        self._wait_for_port(relay, ports.relay_control)
        line = next(line.strip() for line in said.splitlines() if line.strip().startswith("doorward-relay-1 "))
        return self.console.pair_relay("Demo relay", line)

    def _start_plain_relay(self, sshd: Path) -> str:
        """Set up an sshd of this user's as any customer has one, and put the project's line where it reads keys."""
        place, console = self.folder / "relay", self.console
        place.mkdir()
        self.children.run(
            found("ssh-keygen") or "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "host_key"
        )
        line = console.post(f"/projects/{console.project}/keys/relay-file", ports=str(self.ports.door))["content"]
        (place / "authorized_keys").write_text(line)
        (place / "sshd_config").write_text(_PLAIN.format(place=place, host=HOST, port=self.ports.relay_ssh))
        relay = self.children.start("relay", sshd, "-D", "-e", "-f", place / "sshd_config")
        self._wait_for_port(relay, self.ports.relay_ssh)
        wanted = {"name": "Demo relay", "host": HOST, "ssh_port": self.ports.relay_ssh, "user": self.user}
        host_key = (place / "host_key.pub").read_text().strip()
        return str(console.post(f"/projects/{console.project}/relays/plain", ssh_host_keys=[host_key], **wanted)["id"])

    # -- the device

    def _start_device(self, relay: str) -> None:
        place = self.folder / "device"
        place.mkdir()
        self.device, line = self.console.add_device(DEVICE, relay, self.ports.door)
        runner = [str(word) for word in ours("doorward-runner", "--config", place / "runner.toml")]
        write_toml(place / "runner.toml", {
            "rootless": True, "state_dir": place / "runner", "run_dir": place / "runner-run", "login_user": self.user,
            "agent_user": self.user, "door": "embedded" if self.parts.door_sshd is None else "sshd",
            **({} if self.parts.door_sshd is None else {"sshd": self.parts.door_sshd}),
        })  # fmt: skip
        write_toml(place / "agent.toml", {
            "state_dir": place / "state", "runtime_dir": place / "run", "user": self.user, "login_user": self.user,
            "runner": "command", "runner_command": runner, "runner_prepare_command": [*runner, "prepare"],
            "runner_pin_command": [*runner, "pin"], "runner_nonce_file": place / "runner-run" / "nonce",
            "tunnel": "paramiko" if self.parts.tunnel_ssh is None else "ssh",
            **({} if self.parts.tunnel_ssh is None else {"ssh_program": self.parts.tunnel_ssh}),
        })  # fmt: skip
        agent = ours("doorward-agent", "--config", place / "agent.toml")
        self.children.run(*agent, "join", stdin=line.encode() + b"\n")  # others may read a command line
        started = self.children.start("agent", *agent, "run")
        self.children.wait(
            started, lambda: self.console.get(f"/devices/{self.device}")["presence"] == "connected", DEVICE
        )

    # -- the engineer

    def keep_known_hosts(self, door: dict[str, Any]) -> None:
        """Write the line by which ssh knows the device's doors, as the console prints it with an open door."""
        if (door.get("lines") or {}).get("known_hosts"):
            self.known_hosts.write_text(door["lines"]["known_hosts"] + "\n")

    def ssh_words(self) -> list[str]:
        """Give the engineer's command; the name is the user's own, for a trial has no other."""
        return [
            "ssh", "-i", str(self.key), "-o", f"HostKeyAlias={self.device}", "-o", f"UserKnownHostsFile={_quoted(self.known_hosts)}",
            "-p", str(self.ports.door), f"{self.user}@{HOST}",
        ]  # fmt: skip

    def ssh_line(self) -> str:
        """Give it as a person types it."""
        return shlex.join(self.ssh_words())


def _quoted(path: Path) -> str:
    """Quote for ssh, which splits the value of UserKnownHostsFile at spaces."""
    return f'"{path}"' if " " in str(path) else str(path)


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts on a loopback port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Name TCP ports on which nobody listens; the last is followed by another: doors of this trial.

    Below those that the kernel gives to whoever dials: a port of those may be taken in the moment before we listen.
    """
    while True:
        found = [20_000 + secrets.randbelow(9_000) for _ in range(count)]
        wanted = {*found, *range(found[-1], found[-1] + _DOORS)}
        if len(wanted) == count + _DOORS - 1 and not any(is_listening(port) for port in wanted):
            return found


def write_secret(path: Path, text: str) -> None:
    """Write a file that its user alone may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def write_toml(path: Path, values: dict[str, Any]) -> None:
    """Write a configuration of strings, paths, lists of strings and truths."""
    path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
