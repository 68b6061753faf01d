"""The runner: one JSON line to it, one line back, over its socket or as a command (the one that sudoers allows).

Calls are worked off by one thread, in their order, so a close never overtakes an open. The runner may live on after its
answer (it is then a door's closer); its end is not waited for, and it does not hang on the agent's life.
"""

import json
import logging
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.commands import outcome_from
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import CommandId, SessionId

from doorward_agent.config import Config
from doorward_agent.contracts import Post
from doorward_agent.edges.calls import Calls
from doorward_agent.edges.listeners import has_listener
from doorward_agent.errors import RunnerRefused, Unavailable
from doorward_agent.events import (
    CommandTold,
    DoorClosed,
    DoorFacts,
    DoorFailed,
    DoorNotClosed,
    DoorOpened,
    Event,
    RunnerReported,
    SettingsTold,
)

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 2 * 65_536
"""A hook's whole answer, written as JSON, is among it."""
STOP_LIMIT_S: Final = 2.0
Starting = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]
NO_PORT: Final = 65_535
"""A command needs none, and an order's request names one."""


class RunnerEdge:
    """``contracts.Runner`` on the real runner."""

    def __init__(self, config: Config, post: Post) -> None:
        self._config = config
        self._doors = Calls("runner", post)
        self._commands = Calls("commands", post)
        self._is_to_report = False

    def open_door(self, session: SessionId, envelope: bytes, port: int) -> None:
        self._doors.put(lambda: self._open(session, envelope, port))

    def close_door(self, session: SessionId) -> None:
        self._doors.put(lambda: self._close(session))

    def report(self) -> None:
        """Let the runner say what it holds; a question that waits already stands for this one, too."""
        if not self._is_to_report:
            self._is_to_report = True
            self._doors.put(self._report)

    def run_command(self, command: CommandId, envelope: bytes) -> None:
        self._commands.put(
            lambda: self._tell(command, {"verb": "order", "envelope": json.loads(envelope), "port": NO_PORT})
        )

    def tell_command(self) -> None:
        self._commands.put(lambda: self._tell("", {"verb": "command"}))

    def hand_settings(self, what: str, envelope: bytes) -> None:
        order = {"verb": "order", "envelope": json.loads(envelope), "port": NO_PORT}
        self._commands.put(lambda: self._tell_settings(what, order))

    def tell_settings(self) -> None:
        self._commands.put(lambda: self._tell_settings("", {"verb": "settings"}))

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

    def has_listener(self, port: int) -> bool:
        return has_listener(port)

    def stop(self) -> None:
        """Let the threads finish what they do, for a moment; a call under way is the runner's to finish."""
        self._doors.stop(STOP_LIMIT_S)
        self._commands.stop(0.0)

    def _open(self, session: SessionId, envelope: bytes, port: int) -> Event:
        try:
            answer = self._ask(self._doors, {"verb": "order", "envelope": json.loads(envelope), "port": port})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner did not open session=%s code=%s error=%s", session, error.code, error)
            return DoorFailed(session, error.code)
        return DoorOpened(session, int(answer.get("port") or port), str(answer.get("closer")), _facts(answer))

    def _close(self, session: SessionId) -> Event:
        try:
            self._ask(self._doors, {"verb": "close", "session": session})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner did not close session=%s code=%s error=%s", session, error.code, error)
            return DoorNotClosed(session, error.code)
        return DoorClosed(session)

    def _report(self) -> Event:
        self._is_to_report = False
        try:
            answer = self._ask(self._doors, {"verb": "status"})
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner does not answer code=%s error=%s", error.code, error)
            return RunnerReported(None, None, error.code)
        verbs = _verbs(answer)
        if answer.get("state") != "open" or not isinstance(answer.get("session"), str):
            return RunnerReported(None, None, verbs=verbs)
        return RunnerReported(SessionId(answer["session"]), int(answer.get("port") or 0), None, _facts(answer), verbs)

    def _tell(self, command: str, request: Mapping[str, Any]) -> Event:
        try:
            answer = self._ask(self._commands, request)
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner gave no word on command=%s code=%s error=%s", command, error.code, error)
            return CommandTold("", None, error.code)
        return told_from_answer(answer)

    def _tell_settings(self, asked: str, request: Mapping[str, Any]) -> Event:
        try:
            answer = self._ask(self._commands, request)
        except (Unavailable, RunnerRefused) as error:
            _log.warning("runner gave no word on settings asked=%s code=%s error=%s", asked, error.code, error)
            return SettingsTold(asked, error.code)
        return settings_from_answer(asked, answer)

    def _ask(self, calls: Calls, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return asked(self._config, request, calls.started)


def asked(config: Config, request: Mapping[str, Any], started: Starting) -> Mapping[str, Any]:
    """Ask the runner one thing and give its answer.

    Raises:
        Unavailable: it does not answer in time, or not with a line that can be read.
        RunnerRefused: it says no.
    """
    line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
    deadline_s = time.monotonic() + config.runner_limit_s
    if config.runner == "socket":
        return _read_answer(_over_socket(config.runner_socket, line, deadline_s))
    return _read_answer(_over_command(started(config.runner_command), line, deadline_s))


def told_from_answer(answer: Mapping[str, Any]) -> CommandTold:
    """Read the runner's word on its last command; one that cannot be read is none."""
    command = str(answer.get("command") or "")
    if answer.get("state") != "done":
        return CommandTold(command)
    try:
        return CommandTold(command, outcome_from(answer))
    except Malformed as error:
        _log.warning("runner's word cannot be read: %s", error)
        return CommandTold("", None, "runner.unavailable")


def settings_from_answer(asked: str, answer: Mapping[str, Any]) -> SettingsTold:
    """Read the runner's word on its last settings; one that cannot be read is none."""
    try:
        return SettingsTold(
            asked,
            state=fields.text(answer, "state", longest=20),
            epoch=fields.integer(answer, "epoch"),
            revision=fields.integer(answer, "revision"),
            digest=fields.text_or_none(answer, "digest", longest=71),
            code=fields.text_or_none(answer, "code", longest=60),
            said=fields.text(answer, "said"),
        )
    except Malformed as error:
        _log.warning("runner's word cannot be read: %s", error)
        return SettingsTold(asked, "runner.unavailable")


def _verbs(answer: Mapping[str, Any]) -> tuple[str, ...]:
    said = answer.get("verbs")
    return tuple(str(one)[:40] for one in said[:64]) if isinstance(said, list) else ()


def _facts(answer: Mapping[str, Any]) -> DoorFacts:
    door = answer.get("door")
    return DoorFacts(str(door)[:20] if door else None, answer.get("shares_user") is True)


def _over_command(process: "subprocess.Popen[bytes]", line: bytes, deadline_s: float) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    try:
        with process.stdin as stdin:
            stdin.write(line)
    except OSError as error:
        raise Unavailable("runner.unavailable", str(error)) from None
    with process.stdout as stdout:
        return _read_line(stdout.fileno(), lambda size: os.read(stdout.fileno(), size), deadline_s)


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
