"""Dialling with paramiko, in a child of our own, for devices without the ``ssh`` program.

The agent itself never imports paramiko: the child holds its 25 MiB while a tunnel is there and no longer. What the two say
to one another, a JSON object a line:

- agent, first: everything that the dial needs. The connection goes as a descriptor by its number, the private key by its path, nothing by
  the argument list.
- child: ``{"admitted": true}``, or ``{"failed": CODE}`` and its end; CODE is null where it met no SSH server. Both with
  ``host_key_at``, when it had seen a pinned host key, or null.
- agent: ``{"forward": PORT, "bind": …, "to": [ADDRESS, PORT]}``, and the child: ``{"granted": true | false}``.
- agent: ``{"hello": true}``, and the child: ``{"said": TEXT}``, what the relay answered.

The end of the agent's side is the order to end.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from doorward_protocol.orders import Forward
from doorward_protocol.targets import Target

from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges import children

CHILD: Final = "doorward_agent.edges.paramiko_child"
ANSWER_LIMIT_S: Final = 10.0
MAX_LINE_BYTES: Final = 65_536


@dataclass(slots=True)
class ParamikoConnection:
    """A running child, and its lines."""

    process: subprocess.Popen[bytes]
    input: IO[bytes]
    output: IO[bytes]
    _first: Mapping[str, Any] | None = None
    _unread: bytes = b""
    _ended: bool = False

    @property
    def watched(self) -> Sequence[int]:
        return () if self._ended or self._first is not None else (self.output.fileno(),)

    def is_admitted(self) -> bool:
        if self._first is None:
            self._first = self._line(0)
        return self._first is not None and self._first.get("admitted") is True

    def host_key_at(self) -> float | None:
        """Give what the child said with its first line: its monotonic clock is ours (clock_gettime(2))."""
        self.is_admitted()
        at = None if self._first is None else self._first.get("host_key_at")
        return at if isinstance(at, float) else None

    def ask(self, forward: Forward, place: Target) -> bool:
        bind = "" if forward.bind == "*" else forward.bind
        return self._answer({"forward": forward.port, "bind": bind, "to": place}).get("granted") is True

    def hello(self) -> bytes:
        return str(self._answer({"hello": True}).get("said", "")).encode()

    def diagnosis(self) -> str | None:
        """A child that said nothing, or that was admitted and then ended, broke."""
        if self.is_admitted() or self._first is None:
            return "tunnel.lost"
        code = self._first.get("failed")
        return code if isinstance(code, str) else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.input.close()
        self.output.close()

    def say(self, document: Mapping[str, Any]) -> None:
        """Write one line; raises OSError when nobody reads."""
        self.input.write(json.dumps(document).encode() + b"\n")
        self.input.flush()

    def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            self.say(question)
        except OSError:
            return {}
        return self._line(ANSWER_LIMIT_S) or {}

    def _line(self, limit_s: float) -> Mapping[str, Any] | None:
        """Give the next line; None when none comes in time."""
        ends_at = time.monotonic() + limit_s
        while b"\n" not in self._unread and not self._ended:
            readable, _, _ = select.select([self.output], [], [], max(0.0, ends_at - time.monotonic()))
            if not readable:
                return None
            came = os.read(self.output.fileno(), MAX_LINE_BYTES)
            self._unread += came
            self._ended = not came or len(self._unread) > MAX_LINE_BYTES
        line, _, self._unread = self._unread.partition(b"\n")
        return _object(line)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("a child without pipes")
    return process.stdin, process.stdout


def _object(line: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class ParamikoDialer:
    """``dialling.Dialer`` on paramiko."""

    way: ClassVar = "paramiko"
    config: Config
    folder: Path

    def dial(self, dial: Dial, link: socket.socket) -> ParamikoConnection:
        command = (sys.executable, "-I", "-m", CHILD)
        pipe, number = subprocess.PIPE, link.fileno()
        with link:
            process = children.start_dying_with_us(command, self.folder, output=pipe, source=pipe, more=(number,))
        connection = ParamikoConnection(process, *_pipes(process))
        try:
            connection.say(self._first_line(dial, number))
        except OSError:
            children.end(connection.process)
            connection.close()
            raise
        return connection

    def _first_line(self, dial: Dial, link: int) -> Mapping[str, Any]:
        return {
            "link": link,
            "user": dial.route.user,
            "host_keys": dial.route.host_keys,
            "certificate": dial.route.certificate,
            "key": str(self.config.state_dir / "tunnel_key"),
            "limit_s": self.config.tunnel_limit_s,
            "alive_s": self.config.relay_keepalive_s,
        }
