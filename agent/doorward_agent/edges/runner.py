"""The runner: one JSON line to it, one line back, over its socket or as a command (the one that sudoers allows).

Calls are worked off by one thread, in their order, so a close never overtakes an open. The runner may live on after its
answer (it is then a door's closer); its end is not waited for, and it does not hang on the agent's life.
"""

import json
import logging
import os
import queue
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from doorward_protocol.ids import SessionId

from doorward_agent.config import Config
from doorward_agent.contracts import Post
from doorward_agent.errors import RunnerRefused, Unavailable
from doorward_agent.events import DoorClosed, DoorFacts, DoorFailed, DoorNotClosed, DoorOpened, Event, RunnerReported

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 65_536
WAITING_CALLS: Final = 32
"""More than the machine ever has under way; a bound, so that a hung runner costs no memory."""
STOP_LIMIT_S: Final = 2.0
FIRST_FAREWELL_S: Final = 0.25
"""A runner that has answered needs so long to end; a zombie until then."""
LONGEST_FAREWELL_S: Final = 60.0
"""One that stays as long as its door (where there are no control groups) is looked after this rarely: it wakes nobody."""


class RunnerEdge:
    """``contracts.Runner`` on the real runner."""

    def __init__(self, config: Config, post: Post) -> None:
        self._config = config
        self._post = post
        self._calls: queue.Queue[Callable[[], Event] | None] = queue.Queue(maxsize=WAITING_CALLS)
        self._lingering: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._work, name="runner", daemon=True)
        self._thread.start()

    def open_door(self, session: SessionId, envelope: bytes, port: int) -> None:
        self._calls.put_nowait(lambda: self._open(session, envelope, port))

    def close_door(self, session: SessionId) -> None:
        self._calls.put_nowait(lambda: self._close(session))

    def report(self) -> None:
        self._calls.put_nowait(self._report)

    def nonce(self) -> str | None:
        """Read the first line of the nonce file."""
        try:
            line = self._config.runner_nonce_file.read_text(encoding="ascii").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError):
            return None
        return line[:64] or None

    def nonce_age_s(self) -> float | None:
        try:
            return time.time() - self._config.runner_nonce_file.stat().st_mtime
        except OSError:
            return None

    def stop(self) -> None:
        """Let the thread finish what it does, for a moment; a call under way is the runner's to finish."""
        try:
            self._calls.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(STOP_LIMIT_S)

    def _work(self) -> None:
        while (call := self._next_call()) is not None:
            self._post(call())

    def _next_call(self) -> Callable[[], Event] | None:
        """Wait for a call, and meanwhile see off whoever has answered and is ending: soon at first, then ever more rarely."""
        pause_s = FIRST_FAREWELL_S
        while True:
            self._lingering = [process for process in self._lingering if process.poll() is None]
            try:
                return self._calls.get(timeout=pause_s if self._lingering else None)
            except queue.Empty:
                pause_s = min(2 * pause_s, LONGEST_FAREWELL_S)

    def _open(self, session: SessionId, envelope: bytes, port: int) -> Event:
        try:
            answer = self._ask({"verb": "order", "envelope": json.loads(envelope), "port": port})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner did not open session=%s code=%s error=%s", session, error.code, error)
            return DoorFailed(session, error.code)
        return DoorOpened(session, int(answer.get("port") or port), str(answer.get("closer")), _facts(answer))

    def _close(self, session: SessionId) -> Event:
        try:
            self._ask({"verb": "close", "session": session})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner did not close session=%s code=%s error=%s", session, error.code, error)
            return DoorNotClosed(session, error.code)
        return DoorClosed(session)

    def _report(self) -> Event:
        try:
            answer = self._ask({"verb": "status"})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner does not answer code=%s error=%s", error.code, error)
            return RunnerReported(None, None, error.code)
        if answer.get("state") != "open" or not isinstance(answer.get("session"), str):
            return RunnerReported(None, None)
        return RunnerReported(SessionId(answer["session"]), int(answer.get("port") or 0), None, _facts(answer))

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        deadline_s = time.monotonic() + self._config.runner_limit_s
        if self._config.runner == "socket":
            raw = _over_socket(self._config.runner_socket, line, deadline_s)
        else:
            raw = self._over_command(line, deadline_s)
        return _read_answer(raw)

    def _over_command(self, line: bytes, deadline_s: float) -> bytes:
        try:
            process = subprocess.Popen(
                self._config.runner_command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None,  # the runner's log is the agent's own
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
                close_fds=True,
            )
        except OSError as error:
            raise Unavailable("runner.unavailable", str(error)) from None
        self._lingering.append(process)
        if process.stdin is None or process.stdout is None:
            raise AssertionError("pipes were asked for")
        try:
            with process.stdin as stdin:
                stdin.write(line)
        except OSError as error:
            raise Unavailable("runner.unavailable", str(error)) from None
        with process.stdout as stdout:
            return _read_line(stdout.fileno(), lambda size: os.read(stdout.fileno(), size), deadline_s)


def _facts(answer: Mapping[str, Any]) -> DoorFacts:
    door = answer.get("door")
    return DoorFacts(str(door)[:20] if door else None, answer.get("shares_user") is True)


def _over_socket(path: Path, line: bytes, deadline_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(max(0.1, deadline_s - time.monotonic()))
            connection.connect(str(path))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            return _read_line(connection.fileno(), connection.recv, deadline_s)
        except OSError as error:
            raise Unavailable("runner.unavailable", str(error)) from None


def _read_line(descriptor: int, read: Callable[[int], bytes], deadline_s: float) -> bytes:
    """Read up to the first newline; the writer may stay."""
    found = b""
    while b"\n" not in found and len(found) <= MAX_ANSWER_BYTES:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
        if not readable:
            raise Unavailable("runner.unavailable", "no answer in time")
        piece = read(4096)
        if not piece:
            break
        found += piece
    return found.partition(b"\n")[0]


def _read_answer(raw: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError:
        raise Unavailable("runner.unavailable", "its answer is no JSON line") from None
    if not isinstance(answer, dict):
        raise Unavailable("runner.unavailable", "its answer is no object")
    if answer.get("ok") is not True:
        raise RunnerRefused(str(answer.get("code") or "runner.unavailable"), str(answer.get("message") or ""))
    return answer
