"""The tunnel: a child that dials the relay, watched and ended by one thread.

The thread lives as long as the agent, as the child's death signal is tied to it. Who dials, ``ssh`` or paramiko, is chosen for
each dial (``dialling``); what happens when is the same: dialled, admitted, the door's forward granted, lost. What went wrong is
asked of the connection, and where that met nobody, of the resolver and the relay's TCP port. Named forwards come after the door's,
each once ``scouting`` has found its target, and hold up nothing.
"""

import binascii
import contextlib
import json
import logging
import os
import queue
import select
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from doorward_protocol.orders import Forward
from doorward_protocol.targets import DOOR, Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial, Post
from doorward_agent.edges import children
from doorward_agent.edges.dialling import Connection, Found, dialer_for
from doorward_agent.edges.reachability import Lookup, reachability, resolved
from doorward_agent.events import ForwardTold, TunnelEnded, TunnelFailed, TunnelOpened

if TYPE_CHECKING:
    from doorward_agent.edges.scouting import Scout

_log = logging.getLogger(__name__)

POLL_S: Final = 0.004
"""How often a connection that has nothing to watch is looked at while it dials; a whole dial takes some 150 ms."""
SLOW_POLL_S: Final = 0.05
QUICK_S: Final = 1.0
STOP_LIMIT_S: Final = 3.0
FORWARD_TRIES: Final = 3
"""The relay frees our port for us; that it is taken again by the time we ask happens to nobody twice."""


@dataclass(slots=True)
class _Child:
    """The one child that is under way."""

    dial: Dial
    connection: Connection
    started_s: float
    pidfd: int | None
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


_Command = Dial | _Forward | Found | _End | _Stop


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
                case Found():
                    self._open_named(command)
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
        news = () if child.is_admitted else child.connection.watched
        watched = [self._mailbox.ends[0], *news, *([] if child.pidfd is None else [child.pidfd])]
        select.select(watched, [], [], _pause_s(child))
        self._advance(child)

    def _dial(self, dial: Dial) -> None:
        self._end_child()
        dialer = dialer_for(self._config, self._folder)
        if dialer is None:
            self._post(TunnelFailed(dial.attempt, "tunnel.no-ssh"))
            return
        try:
            connection = dialer.dial(dial)
        except (OSError, ValueError, binascii.Error) as error:
            _log.error("dial not started attempt=%s error=%s", dial.attempt, error)
            self._post(TunnelFailed(dial.attempt, "tunnel.unreachable"))
            return
        pid = connection.process.pid
        self._child = _Child(dial, connection, time.monotonic(), _pidfd(pid))
        with contextlib.suppress(OSError):
            children.remember(self._pid_file, pid)

    def _advance(self, child: _Child) -> None:
        if child.connection.process.poll() is not None:
            self._fail("tunnel.lost" if child.is_admitted else _diagnosis(child))
            return
        if not child.is_admitted:
            child.is_admitted = child.connection.is_admitted()
            if not child.is_admitted and time.monotonic() - child.started_s > self._config.tunnel_limit_s:
                self._fail("tunnel.timeout")
                return
        if child.is_admitted and not child.is_up and child.port is not None:
            self._ask_for_forwards(child, child.port)

    def _ask_for_forwards(self, child: _Child, port: int) -> None:
        """Ask for the door's forward; once it is granted the tunnel is open, and the named ones are looked into."""
        door = [one for one in child.dial.forwards if one.target == DOOR]
        named = [one for one in child.dial.forwards if one.target != DOOR]
        for forward in door:
            relay_code = _refusal(child.connection, forward, Target("127.0.0.1", port))
            if relay_code is not None:
                self._fail("tunnel.port-refused", relay_code)
                return
        child.is_up = True
        self._post(TunnelOpened(child.dial.attempt))
        if named:
            from doorward_agent.edges.scouting import Scout  # a session without any does without

            child.scout = Scout(self._config.forwards, self._lookup, self._mailbox.put)
            child.scout.begin(child.dial.attempt, named)

    def _open_named(self, found: Found) -> None:
        """Ask the relay for a named forward whose target answers; one of a tunnel that is gone is nobody's any more."""
        child = self._child
        if child is None or child.dial.attempt != found.attempt:
            return
        code, relay_code = found.code, None
        if found.place is not None:
            relay_code = _refusal(child.connection, found.forward, found.place)
            code = None if relay_code is None else "forward.port-refused"
            if code is not None and child.scout is not None:
                child.scout.again(found.attempt, found.forward)
        if child.connection.process.poll() is None:  # else the tunnel was lost, which is told instead
            self._post(ForwardTold(found.attempt, found.forward, found.address, code, relay_code or None))

    def _fail(self, code: str, relay_code: str | None = None) -> None:
        child = self._child
        self._end_child()
        if child is not None:
            _log.warning("tunnel failed attempt=%s code=%s relay_code=%s", child.dial.attempt, code, relay_code)
            self._post(TunnelFailed(child.dial.attempt, code, relay_code or None))

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            if child.scout is not None:
                child.scout.stop()
            children.end(child.connection.process)
            child.connection.close()
            if child.pidfd is not None:
                os.close(child.pidfd)
            self._pid_file.unlink(missing_ok=True)


def _refusal(connection: Connection, forward: Forward, place: Target) -> str | None:
    """Ask until the forward is granted (None) or the relay gives another reason than an old connection."""
    relay_code = ""
    for _ in range(FORWARD_TRIES):
        if connection.ask(forward, place):
            return None
        relay_code = _relay_code(connection.hello())
        if relay_code != "relay.port-freed":
            break
    return relay_code


def _relay_code(said: bytes) -> str:
    """Read the relay's reason; one that does not say (a plain relay) gives an empty code."""
    try:
        answer = json.loads(said[:4096].partition(b"\n")[0])
    except ValueError:
        return ""
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code.startswith("relay.") and len(code) <= 60 else ""


def _diagnosis(child: _Child) -> str:
    """Say why a child ended before the relay admitted us."""
    route = child.dial.route
    return child.connection.diagnosis() or reachability(route.host, route.port)


def _pause_s(child: _Child) -> float | None:
    if not child.is_admitted:
        is_quick = not child.connection.watched and time.monotonic() - child.started_s < QUICK_S
        return POLL_S if is_quick else SLOW_POLL_S
    return None if child.pidfd is not None else SLOW_POLL_S * 10


def _pidfd(pid: int) -> int | None:
    """Give a descriptor that is readable once the child has ended; None on kernels before 5.3."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
