"""Dialling with the ``ssh`` program, over a connection of ours and told what to do through its control socket.

No debug text is read: the control socket's appearance says that the relay admitted us, its answers say whether a
forward was granted, and the list of host keys that were seen says how far a dial came that failed.
"""

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from doorward_protocol.orders import Forward, RelayRoute
from doorward_protocol.targets import Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children, ssh_command, ssh_control
from doorward_agent.edges.connecting import acknowledge, bytes_heard
from doorward_agent.edges.files import write_whole

_log = logging.getLogger(__name__)

COMMAND_LIMIT_S: Final = 10.0
LEAST_OFFER: Final = 300
"""Bytes. A version line and the list of what a server can (RFC 4253, section 7.1) are a thousand; who is too busy says a line."""


@dataclass(frozen=True, slots=True)
class SshConnection:
    """A running master.

    Attributes:
        link: the connection that it speaks over; ours, too, until the first forward was answered: so long we acknowledge at once
            what comes.
    """

    process: subprocess.Popen[bytes]
    link: socket.socket
    program: Path
    folder: Path
    route: RelayRoute

    @property
    def watched(self) -> Sequence[int]:
        return ()

    def is_admitted(self) -> bool:
        self._hasten()
        return (self.folder / ssh_command.CONTROL).exists()

    def host_key_at(self) -> float | None:
        """See whether a pinned key's folder is there; ssh before 8.5 makes none."""
        seen = self.folder / ssh_command.SEEN
        pins = (ssh_command.fingerprint_of_key(line) for line in self.route.host_keys)
        return time.monotonic() if any((seen / pin).is_dir() for pin in pins) else None

    def ask(self, forward: Forward, place: Target) -> bool:
        """Ask over the control socket; sshd answers once what it said before is acknowledged, and says nothing of a visitor before its answer is."""
        try:
            return ssh_control.is_granted(
                self.folder, ssh_command.CONTROL, forward, place, COMMAND_LIMIT_S, self._hasten
            )
        finally:
            self._hasten()
            self.link.close()

    def hello(self) -> bytes:
        command = ssh_command.hello_command(self.program, self.route.host)
        try:
            _status, output = children.run_briefly(command, self.folder, COMMAND_LIMIT_S)
        except OSError as error:  # no descriptor is left to ask with
            _log.error("relay not asked why error=%s", error)
            return b""
        return output

    def diagnosis(self) -> str | None:
        """Say it by what was seen: a server that offered what it has, and no key of ours among it, is another one."""
        has_offered = bytes_heard(self.link) >= LEAST_OFFER
        self.link.close()  # a relay that is asked what is wrong hears of this end first
        if not (self.folder / ssh_command.SEEN).exists():
            return "tunnel.host-key" if has_offered else None
        return "tunnel.host-key" if self.host_key_at() is None else "tunnel.not-admitted"

    def close(self) -> None:
        self.link.close()

    def _hasten(self) -> None:
        acknowledge(self.link)


@dataclass(frozen=True, slots=True)
class SshDialer:
    """``dialling.Dialer`` on OpenSSH's client."""

    way: ClassVar = "ssh"
    config: Config
    folder: Path

    def dial(self, dial: Dial, link: socket.socket) -> SshConnection:
        try:
            self._prepare(dial.route)
            command = ssh_command.dial_command(self.config, dial.route)
            process = children.start_dying_with_us(command, self.folder, source=link.fileno(), output=link.fileno())
        except BaseException:
            link.close()
            raise
        return SshConnection(process, link, self.config.ssh_program, self.folder, dial.route)

    def _prepare(self, route: RelayRoute) -> None:
        """Write what ssh reads; a control socket left by another master would make this one run without control."""
        (self.folder / ssh_command.CONTROL).unlink(missing_ok=True)
        shutil.rmtree(self.folder / ssh_command.SEEN, ignore_errors=True)
        known_hosts = ssh_command.known_hosts_text(route).encode()
        write_whole(self.folder / ssh_command.KNOWN_HOSTS, known_hosts, durable=False)
        write_whole(self.folder / ssh_command.CERTIFICATE, route.certificate.encode() + b"\n", durable=False)
