"""Our own sshd as a program: let it check a configuration, start it, find one that is there, end it."""

import asyncio
import logging
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from doorward_relay.config import RelayConfig
from doorward_relay.edges import kernel
from doorward_relay.view import listening_on

_LIMIT_S: Final = 20
_LOOK_S: Final = 1.0
_END_S: Final = 5.0
_LOG: Final = logging.getLogger("doorward.relay")
_PRIVSEP: Final = Path("/run/sshd")
"""Debian's privilege separation folder, which ssh.service makes; elsewhere it is part of the package."""


def fault_in(sshd: Path, *arguments: str) -> str | None:
    """Let sshd check a configuration (``-t``); give its words, for people, or None when it accepts."""
    make_privsep_folder()
    ran = subprocess.run(
        [sshd, "-t", *arguments], capture_output=True, text=True, timeout=_LIMIT_S, check=False, env={}
    )
    return None if ran.returncode == 0 else ran.stderr.strip() or f"exit status {ran.returncode}"


def make_privsep_folder() -> None:
    """Make the folder without which Debian's sshd does not start."""
    if Path("/run").is_dir():
        _PRIVSEP.mkdir(mode=0o755, exist_ok=True)


def running(config: RelayConfig) -> int | None:
    """Find our sshd's master process by its pid file, if it really is an sshd."""
    with suppress(OSError, ValueError):
        pid = int(config.sshd_pid_file.read_text())
        if kernel.is_sshd(pid):
            return pid
    return None


def is_serving(config: RelayConfig) -> bool:
    """Tell whether anything listens where our sshd should."""
    return bool(listening_on(kernel.sockets(), (config.ssh_port,)))


class Own:
    """Our sshd as a child of the daemon, in a session of its own: it goes on serving when the daemon is killed."""

    def __init__(self, config: RelayConfig) -> None:
        """Nothing is started yet; one of an earlier daemon that still serves is taken up, with its tunnels."""
        self._config = config
        self._child: subprocess.Popen[bytes] | None = None

    async def keep(self) -> None:
        """See that it runs, again and again; returns only by being cancelled."""
        make_privsep_folder()
        while True:
            if not self._is_child_alive() and running(self._config) is None:
                self._child = _start(self._config)
            await asyncio.sleep(_LOOK_S)

    async def end(self) -> None:
        """End the master, so that nobody comes in any more; its sessions are ended by whoever knows them."""
        pid = self._child.pid if self._child is not None and self._is_child_alive() else running(self._config)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline and (is_serving(self._config) or self._is_child_alive()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)

    def _is_child_alive(self) -> bool:
        return self._child is not None and self._child.poll() is None


def _start(config: RelayConfig) -> subprocess.Popen[bytes]:
    _LOG.info("sshd.started")
    arguments = [str(config.sshd_program), "-D", "-e", "-f", str(config.sshd_config_file)]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env={}, start_new_session=True)
