"""The tunnel: the ``ssh`` program as a child, told what to do through its control socket.

One thread forks, watches and ends the child, and lives as long as the agent (the child's death signal is tied to it). No
debug text is read: the control socket's appearance says that the relay admitted us, exit statuses say whether a
forward was granted, and what went wrong is found out afterwards by asking the resolver, the relay's TCP port and the
list of host keys that were seen.
"""

import binascii
import contextlib
import json
import logging
import os
import queue
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from doorward_agent.config import Config
from doorward_agent.contracts import Dial, Post
from doorward_agent.edges import children, ssh_command
from doorward_agent.edges.files import write_whole
from doorward_agent.events import TunnelEnded, TunnelFailed, TunnelOpened

_log = logging.getLogger(__name__)

POLL_S: Final = 0.004
"""How often the control socket is looked for while the relay is dialled; a whole dial takes some 150 ms."""
SLOW_POLL_S: Final = 0.05
QUICK_S: Final = 1.0
COMMAND_LIMIT_S: Final = 10.0
CHECK_LIMIT_S: Final = 3.0
STOP_LIMIT_S: Final = 3.0
FORWARD_TRIES: Final = 3
"""The relay frees our port for us; that it is taken again by the time we ask happens to nobody twice."""


@dataclass(slots=True)
class _Child:
    """The one ssh that is under way."""

    dial: Dial
    process: subprocess.Popen[bytes]
    started_s: float
    pidfd: int | None
    is_admitted: bool = False
    is_up: bool = False
    port: int | None = None


@dataclass(frozen=True, slots=True)
class _Forward:
    attempt: int
    port: int


@dataclass(frozen=True, slots=True)
class _End:
    attempt: int


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


@dataclass(slots=True)
class _Mailbox:
    """Commands for the thread, with a descriptor that is readable while there are some."""

    commands: "queue.SimpleQueue[Dial | _Forward | _End | _Stop]" = field(default_factory=queue.SimpleQueue)
    ends: tuple[int, int] = field(default_factory=os.pipe)

    def put(self, command: Dial | _Forward | _End | _Stop) -> None:
        self.commands.put(command)
        os.write(self.ends[1], b"!")

    def take(self) -> Dial | _Forward | _End | _Stop | None:
        try:
            command = self.commands.get_nowait()
        except queue.Empty:
            return None
        os.read(self.ends[0], 1)
        return command


class TunnelEdge:
    """``contracts.Tunnel`` on OpenSSH's client."""

    def __init__(self, config: Config, runtime_dir: Path, post: Post) -> None:
        self._config = config
        self._post = post
        self._folder = runtime_dir / "tunnel"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._pid_file = runtime_dir / "tunnel.pid"
        children.end_leftover(self._pid_file)
        self._mailbox = _Mailbox()
        self._child: _Child | None = None
        self._thread = threading.Thread(target=self._work, name="tunnel", daemon=True)
        self._thread.start()

    def open(self, dial: Dial) -> None:
        self._mailbox.put(dial)

    def forward(self, attempt: int, port: int) -> None:
        self._mailbox.put(_Forward(attempt, port))

    def end(self, attempt: int) -> None:
        self._mailbox.put(_End(attempt))

    def stop(self) -> None:
        self._mailbox.put(_Stop())
        self._thread.join(STOP_LIMIT_S)

    # The thread

    def _work(self) -> None:
        while True:
            command = self._mailbox.take()
            match command:
                case None:
                    self._watch()
                case Dial():
                    self._dial(command)
                case _Forward(attempt, port):
                    if self._child is not None and self._child.dial.attempt == attempt:
                        self._child.port = port
                        self._advance(self._child)
                case _End(attempt):
                    self._end_child()
                    self._post(TunnelEnded(attempt))
                case _Stop():
                    self._end_child()
                    return

    def _watch(self) -> None:
        """Wait for a command or for news of the child, and act on the news."""
        child = self._child
        if child is None:
            select.select([self._mailbox.ends[0]], [], [])
            return
        watched = [self._mailbox.ends[0]] + ([] if child.pidfd is None else [child.pidfd])
        select.select(watched, [], [], _pause_s(child))
        self._advance(child)

    def _dial(self, dial: Dial) -> None:
        self._end_child()
        try:
            self._prepare(dial)
            command = ssh_command.dial_command(
                self._config.ssh_program, self._config.state_dir / "tunnel_key", dial.route, self._config.tunnel_limit_s
            )
            process = children.start_dying_with_us(command, self._folder, output=subprocess.DEVNULL)
        except (OSError, ValueError, binascii.Error) as error:
            _log.error("ssh not started attempt=%s error=%s", dial.attempt, error)
            code = "tunnel.unreachable" if self._config.ssh_program.exists() else "tunnel.no-ssh"
            self._post(TunnelFailed(dial.attempt, code))
            return
        self._child = _Child(dial, process, time.monotonic(), _pidfd(process.pid))
        with contextlib.suppress(OSError):
            children.remember(self._pid_file, process.pid)

    def _prepare(self, dial: Dial) -> None:
        """Write what ssh reads; a control socket left by another master would make this one run without control."""
        (self._folder / ssh_command.CONTROL).unlink(missing_ok=True)
        shutil.rmtree(self._folder / ssh_command.SEEN, ignore_errors=True)
        write_whole(
            self._folder / ssh_command.KNOWN_HOSTS, ssh_command.known_hosts_text(dial.route).encode(), durable=False
        )
        certificate = dial.route.certificate.encode() + b"\n"
        write_whole(self._folder / ssh_command.CERTIFICATE, certificate, durable=False)

    def _advance(self, child: _Child) -> None:
        if child.process.poll() is not None:
            self._fail("tunnel.lost" if child.is_admitted else self._diagnosis(child.dial))
            return
        if not child.is_admitted:
            child.is_admitted = (self._folder / ssh_command.CONTROL).exists()
            if not child.is_admitted and time.monotonic() - child.started_s > self._config.tunnel_limit_s:
                self._fail("tunnel.timeout")
                return
        if child.is_admitted and not child.is_up and child.port is not None:
            self._ask_for_forwards(child, child.port)

    def _ask_for_forwards(self, child: _Child, port: int) -> None:
        for forward in child.dial.forwards:
            relay_code = self._ask_for(
                child, ssh_command.forward_command(self._config.ssh_program, forward, port, child.dial.route.host)
            )
            if relay_code is not None:
                self._fail("tunnel.port-refused", relay_code)
                return
        child.is_up = True
        self._post(TunnelOpened(child.dial.attempt))

    def _ask_for(self, child: _Child, command: Sequence[str]) -> str | None:
        """Ask until the forward is granted (None) or the relay gives another reason than an old connection."""
        relay_code = ""
        for _ in range(FORWARD_TRIES):
            status, _output = children.run_briefly(command, self._folder, COMMAND_LIMIT_S)
            if status == 0:
                return None
            relay_code = self._hello(child)
            if relay_code != "relay.port-freed":
                break
        return relay_code

    def _hello(self, child: _Child) -> str:
        """Ask the relay why; one that does not say (a plain relay) gives an empty code."""
        command = ssh_command.hello_command(self._config.ssh_program, child.dial.route.host)
        _status, output = children.run_briefly(command, self._folder, COMMAND_LIMIT_S)
        try:
            answer = json.loads(output[:4096].partition(b"\n")[0])
        except ValueError:
            return ""
        code = answer.get("code") if isinstance(answer, dict) else None
        return code if isinstance(code, str) and code.startswith("relay.") and len(code) <= 60 else ""

    def _fail(self, code: str, relay_code: str | None = None) -> None:
        child = self._child
        self._end_child()
        if child is not None:
            _log.warning("tunnel failed attempt=%s code=%s relay_code=%s", child.dial.attempt, code, relay_code)
            self._post(TunnelFailed(child.dial.attempt, code, relay_code or None))

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            children.end(child.process)
            if child.pidfd is not None:
                os.close(child.pidfd)
            self._pid_file.unlink(missing_ok=True)

    def _diagnosis(self, dial: Dial) -> str:
        """Say why ssh ended before the relay admitted us."""
        seen = self._folder / ssh_command.SEEN
        if seen.exists():
            pins = (ssh_command.fingerprint_of_key(line) for line in dial.route.host_keys)
            return "tunnel.not-admitted" if any((seen / pin).is_dir() for pin in pins) else "tunnel.host-key"
        return _reachability(dial.route.host, dial.route.port)


def _reachability(host: str, port: int) -> str:
    """Say how far one gets towards an address where no host key was shown."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return "tunnel.unresolved"
    for family, kind, protocol, _name, address in addresses:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(CHECK_LIMIT_S)
            if connection.connect_ex(address) == 0:
                return _greeting(connection)
    return "tunnel.unreachable"


def _greeting(connection: socket.socket) -> str:
    """Say what is wrong with a port that accepts: an SSH server with no kind of host key that was pinned is another one."""
    try:
        return "tunnel.host-key" if connection.recv(4) == b"SSH-" else "tunnel.unreachable"
    except TimeoutError:
        return "tunnel.timeout"
    except OSError:
        return "tunnel.unreachable"


def _pause_s(child: _Child) -> float | None:
    if not child.is_admitted:
        return POLL_S if time.monotonic() - child.started_s < QUICK_S else SLOW_POLL_S
    return None if child.pidfd is not None else SLOW_POLL_S * 10


def _pidfd(pid: int) -> int | None:
    """Give a descriptor that is readable once the child has ended; None on kernels before 5.3."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
