"""What a session runs: the login user's shell or one command, at a terminal or between three pipes.

Each process leads a session of its own (setsid(2)), with the terminal as its controlling one where there is one. When its
channel closes while it runs, it and its group get SIGHUP, as from a closed terminal; what ignores that is the closer's to end.
"""

import contextlib
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from paramiko import Channel, Message
from paramiko.common import cMSG_CHANNEL_REQUEST

from doorward_door import flow
from doorward_door.terminal import Terminal

_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_MOST_AT_ONCE: Final = 64
"""Processes of all connections together that have not ended; a shell of an engineer's has no such bound."""
_EXIT_LOOK_S: Final = 0.2


class Leftovers:
    """Every process that was started and may not have ended."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def are_many(self) -> bool:
        return len(self._started) >= _MOST_AT_ONCE

    def add(self, process: subprocess.Popen[bytes]) -> None:
        self._started.append(process)

    def reap(self) -> None:
        """Forget those that have ended."""
        for process in list(self._started):
            if process.poll() is not None:
                self._started.remove(process)


class Process:
    """The one process of a channel, from the variables before it to its exit status.

    Attributes:
        variables: what the client may set of the environment.
        terminal: what it asked for before it started anything.
    """

    def __init__(self, channel: Channel, surroundings: Mapping[str, str], leftovers: Leftovers) -> None:
        self.variables: dict[str, str] = {}
        self.terminal: Terminal | None = None
        self._channel = channel
        self._surroundings = surroundings
        self._leftovers = leftovers
        self._popen: subprocess.Popen[bytes] | None = None
        self._is_taken = False
        self._flows = False

    @property
    def is_started(self) -> bool:
        return self._is_taken

    def take_for_sftp(self) -> bool:
        """Use the channel up without a process; False where it is used already."""
        is_free = not self._is_taken
        self._is_taken = True
        return is_free

    def start(self, command: bytes | None) -> bool:
        """Start ``command`` by the login shell, or the shell itself; False where there is one already, or it cannot."""
        if self._is_taken:
            return False
        self._is_taken = True
        account = pwd.getpwuid(os.getuid())
        shell = account.pw_shell or "/bin/sh"
        name = Path(shell).name
        words: list[str | bytes] = [f"-{name}"] if command is None else [name, "-c", command]
        try:
            self._popen = self._started(shell, words, self._environment(account, shell))
        except (OSError, ValueError, subprocess.SubprocessError):  # no such shell, no descriptor, a NUL in the command
            return False
        self._leftovers.add(self._popen)
        return True

    def _started(self, shell: str, words: list[Any], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        how: dict[str, Any] = {"executable": shell, "env": environment, "start_new_session": True}
        if self.terminal is None:
            pipe = subprocess.PIPE
            return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, **how)
        with self.terminal.opened() as slave:
            # One system call between fork and exec, which takes no lock that another thread could have held.
            take = self.terminal.controlling(slave)
            return subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take, **how)  # noqa: PLW1509

    def _environment(self, account: pwd.struct_passwd, shell: str) -> dict[str, str]:
        found = {"PATH": _PATH, "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        found |= {"SHELL": shell, **self._surroundings, **self.variables}
        return found if self.terminal is None else found | self.terminal.variables()

    def let_flow(self) -> None:
        """Start the threads that carry its input and output, once there is a process."""
        if self._popen is None or self._flows:
            return
        self._flows = True
        self._thread("finish", self._finish)

    def _finish(self) -> None:
        """Carry until it has ended or its channel is closed, then say how it ended, and close."""
        popen, channel = self._popen, self._channel
        if popen is None:
            raise AssertionError("flows before it is started")
        try:
            self._carry(popen, channel)
            while popen.poll() is None and not channel.closed:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    popen.wait(_EXIT_LOOK_S)
            if popen.returncode is None:
                _hang_up(popen.pid)
            else:
                _say_exit(channel, popen.returncode)
        finally:
            channel.close()
            if self.terminal is not None:
                self.terminal.close()

    def _carry(self, popen: subprocess.Popen[bytes], channel: Channel) -> None:
        if self.terminal is not None:
            master = self.terminal.master
            self._thread("input", lambda: flow.carry_in(channel, master))
            flow.carry_out(master, channel, channel.sendall, lambda: popen.poll() is not None)
            return
        if popen.stdin is None or popen.stdout is None or popen.stderr is None:
            raise AssertionError("pipes were asked for")
        stdin, stdout, stderr = popen.stdin, popen.stdout, popen.stderr
        self._thread("input", lambda: _with_closing(stdin, lambda: flow.carry_in(channel, stdin.fileno())))
        errors = self._thread("errors", lambda: flow.carry_out(stderr.fileno(), channel, channel.sendall_stderr))
        flow.carry_out(stdout.fileno(), channel, channel.sendall)
        errors.join()
        stdout.close()
        stderr.close()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"{name}-{self._channel.chanid}", daemon=True)
        thread.start()
        return thread


def _with_closing(pipe: Any, work: Callable[[], None]) -> None:
    try:
        work()
    finally:
        with contextlib.suppress(OSError):
            pipe.close()


def _hang_up(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGHUP)
        os.killpg(pid, signal.SIGCONT)  # what is stopped hears nothing


def _say_exit(channel: Any, status: int) -> None:
    """Send exit-status, or exit-signal where a signal ended it (RFC 4254 §6.10)."""
    with contextlib.suppress(OSError, EOFError):
        if status >= 0:
            channel.send_exit_status(status)
            return
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)  # no reply wanted
        message.add_string(_signal_name(-status))
        message.add_boolean(False)  # no core dumped that we know of
        message.add_string("")
        message.add_string("")
        channel.get_transport()._send_user_message(message)  # noqa: SLF001 - paramiko has no public way to say it


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"{number}@doorward"
