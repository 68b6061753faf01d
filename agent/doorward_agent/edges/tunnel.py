"""The tunnel: a child that logs in to the relay, watched and ended by one thread.

The thread lives as long as the agent, as the child's death signal is tied to it. Who dials, ``ssh`` or paramiko, is chosen for
each dial (``dialling``); what happens when is the same: reached (``connecting``), admitted, the door's forward granted, lost. What went
wrong is asked of the connection, and where that met no SSH server, of the relay's TCP port. Named forwards come after the door's,
each once ``scouting`` has found its target, and hold up nothing.
"""

import binascii
import contextlib
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from doorward_protocol.targets import DOOR, Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial, Post
from doorward_agent.edges import children, connecting
from doorward_agent.edges.connecting import Reached
from doorward_agent.edges.dialling import Connection, Dialer, Found, dialer_for, refusal_of, why_not_admitted
from doorward_agent.edges.reachability import Address, Lookup, resolved
from doorward_agent.events import ForwardTold, TunnelEnded, TunnelFailed, TunnelOpened

if TYPE_CHECKING:
    from doorward_agent.edges.scouting import Scout

_log = logging.getLogger(__name__)

POLL_S: Final = 0.004
"""How often a connection that has nothing to watch is looked at while it dials; a whole dial takes some 150 ms."""
SLOW_POLL_S: Final = 0.05
QUICK_S: Final = 1.0
STOP_LIMIT_S: Final = 3.0


@dataclass(slots=True)
class _Tunnel:
    """The one dial that is under way.

    Attributes:
        addresses: what the relay's name led to.
        connection: the child that logs in; None until the relay is reached.
        child_at_s: when that was started.
        port: the door's, once it answers.
    """

    dial: Dial
    dialer: Dialer
    started_s: float
    addresses: Sequence[Address] = ()
    connection: Connection | None = None
    child_at_s: float = 0.0
    pidfd: int | None = None
    is_admitted: bool = False
    is_up: bool = False
    port: int | None = None
    scout: "Scout | None" = None


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


_Command = Dial | Reached | _Forward | Found | _End | _Stop


@dataclass(slots=True)
class _Mailbox:
    """Commands for the thread, with a descriptor that is readable while there are some."""

    commands: "queue.SimpleQueue[_Command]" = field(default_factory=queue.SimpleQueue)
    ends: tuple[int, int] = field(default_factory=os.pipe)

    def put(self, command: _Command) -> None:
        self.commands.put(command)
        os.write(self.ends[1], b"!")

    def take(self) -> _Command | None:
        try:
            command = self.commands.get_nowait()
        except queue.Empty:
            return None
        os.read(self.ends[0], 1)
        return command


class TunnelEdge:
    """``contracts.Tunnel`` on child processes."""

    def __init__(self, config: Config, runtime_dir: Path, post: Post, lookup: Lookup = resolved) -> None:
        self._config = config
        self._post = post
        self._lookup = lookup
        self._folder = runtime_dir / "tunnel"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._pid_file = runtime_dir / "tunnel.pid"
        children.end_leftover(self._pid_file)
        self._mailbox = _Mailbox()
        self._tunnel: _Tunnel | None = None
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
                case Reached():
                    self._log_in(command)
                case _Forward(attempt, port):
                    if self._tunnel is not None and self._tunnel.dial.attempt == attempt:
                        self._tunnel.port = port
                        self._advance(self._tunnel)
                case Found():
                    self._open_named(command)
                case _End(attempt):
                    self._end_tunnel()
                    self._post(TunnelEnded(attempt))
                case _Stop():
                    self._end_tunnel()
                    return

    def _watch(self) -> None:
        """Wait for a command or for news of the tunnel, and act on the news."""
        tunnel = self._tunnel
        if tunnel is None:
            select.select([self._mailbox.ends[0]], [], [])
            return
        news = () if tunnel.connection is None or tunnel.is_admitted else tunnel.connection.watched
        watched = [self._mailbox.ends[0], *news, *([] if tunnel.pidfd is None else [tunnel.pidfd])]
        select.select(watched, [], [], self._pause_s(tunnel))
        self._advance(tunnel)

    def _pause_s(self, tunnel: _Tunnel) -> float | None:
        if tunnel.connection is None:
            return max(0.0, tunnel.started_s + self._config.tunnel_limit_s - time.monotonic())
        if not tunnel.is_admitted:
            is_young = time.monotonic() - tunnel.child_at_s < QUICK_S
            return POLL_S if is_young and not tunnel.connection.watched else SLOW_POLL_S
        return None if tunnel.pidfd is not None else SLOW_POLL_S * 10

    def _dial(self, dial: Dial) -> None:
        self._end_tunnel()
        try:
            dialer = dialer_for(self._config, self._folder)
            if dialer is not None:
                connecting.begin(dial, self._lookup, self._config.tunnel_limit_s, self._mailbox.put)
        except (OSError, RuntimeError) as error:  # no descriptor is left, or no thread
            self._not_started(dial, error)
            return
        if dialer is None:
            self._post(TunnelFailed(dial.attempt, "tunnel.no-ssh"))
        else:
            self._tunnel = _Tunnel(dial, dialer, time.monotonic())

    def _log_in(self, reached: Reached) -> None:
        """Start the child over the connection that was made for this dial; one that was made for another is let go."""
        tunnel = self._tunnel
        if tunnel is None or tunnel.dial is not reached.dial or tunnel.connection is not None:
            if reached.link is not None:
                reached.link.close()
            return
        if reached.link is None:
            self._fail("tunnel.unreachable" if reached.addresses else "tunnel.unresolved")
            return
        try:
            tunnel.connection = tunnel.dialer.dial(tunnel.dial, reached.link)
        except (OSError, ValueError, binascii.Error) as error:
            self._tunnel = None
            self._not_started(tunnel.dial, error)
            return
        tunnel.addresses, tunnel.child_at_s = reached.addresses, time.monotonic()
        pid = tunnel.connection.process.pid
        tunnel.pidfd = _pidfd(pid)
        with contextlib.suppress(OSError):
            children.remember(self._pid_file, pid)

    def _not_started(self, dial: Dial, error: Exception) -> None:
        _log.error("dial not started attempt=%s error=%s", dial.attempt, error)
        self._post(TunnelFailed(dial.attempt, "tunnel.unreachable"))

    def _advance(self, tunnel: _Tunnel) -> None:
        is_late = time.monotonic() - tunnel.started_s >= self._config.tunnel_limit_s
        if tunnel.connection is None:
            if is_late:
                self._fail("tunnel.timeout")
            return
        if tunnel.connection.process.poll() is not None:
            self._fail("tunnel.lost" if tunnel.is_admitted else why_not_admitted(tunnel.connection, tunnel.addresses))
            return
        if not tunnel.is_admitted:
            tunnel.is_admitted = tunnel.connection.is_admitted()
            if not tunnel.is_admitted and is_late:
                self._fail("tunnel.timeout")
                return
        if tunnel.is_admitted and not tunnel.is_up and tunnel.port is not None:
            self._ask_for_forwards(tunnel, tunnel.connection, tunnel.port)

    def _ask_for_forwards(self, tunnel: _Tunnel, connection: Connection, port: int) -> None:
        """Ask for the door's forward; once it is granted the tunnel is open, and the named ones are looked into."""
        door = [one for one in tunnel.dial.forwards if one.target == DOOR]
        named = [one for one in tunnel.dial.forwards if one.target != DOOR]
        for forward in door:
            relay_code = refusal_of(connection, forward, Target("127.0.0.1", port))
            if relay_code is not None:
                self._fail("tunnel.port-refused", relay_code)
                return
        tunnel.is_up = True
        self._post(TunnelOpened(tunnel.dial.attempt))
        if named:
            from doorward_agent.edges.scouting import Scout  # a session without any does without

            tunnel.scout = Scout(self._config.forwards, self._lookup, self._mailbox.put)
            tunnel.scout.begin(tunnel.dial.attempt, named)

    def _open_named(self, found: Found) -> None:
        """Ask the relay for a named forward whose target answers; one of a tunnel that is gone is nobody's any more."""
        tunnel = self._tunnel
        if tunnel is None or tunnel.connection is None or tunnel.dial.attempt != found.attempt:
            return
        code, relay_code = found.code, None
        if found.place is not None:
            relay_code = refusal_of(tunnel.connection, found.forward, found.place)
            code = None if relay_code is None else "forward.port-refused"
            if code is not None and tunnel.scout is not None:
                tunnel.scout.again(found.attempt, found.forward)
        if tunnel.connection.process.poll() is None:  # else the tunnel was lost, which is told instead
            self._post(ForwardTold(found.attempt, found.forward, found.address, code, relay_code or None))

    def _fail(self, code: str, relay_code: str | None = None) -> None:
        tunnel = self._tunnel
        self._end_tunnel()
        if tunnel is not None:
            _log.warning("tunnel failed attempt=%s code=%s relay_code=%s", tunnel.dial.attempt, code, relay_code)
            self._post(TunnelFailed(tunnel.dial.attempt, code, relay_code or None))

    def _end_tunnel(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is None:
            return
        if tunnel.scout is not None:
            tunnel.scout.stop()
        if tunnel.connection is not None:
            children.end(tunnel.connection.process)
            tunnel.connection.close()
            self._pid_file.unlink(missing_ok=True)
        if tunnel.pidfd is not None:
            os.close(tunnel.pidfd)


def _pidfd(pid: int) -> int | None:
    """Give a descriptor that is readable once the child has ended; None on kernels before 5.3."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
