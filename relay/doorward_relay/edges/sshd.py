"""Our own sshd as a program: let it check a configuration, start it, find one that is there, end it."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from doorward_relay.config import RelayConfig
from doorward_relay.edges import kernel
from doorward_relay.view import listening_on

_LIMIT_S: Final = 20
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


def start(config: RelayConfig) -> subprocess.Popen[bytes]:
    """Start our sshd in a session of its own: it goes on serving when the daemon is killed."""
    make_privsep_folder()
    arguments = [str(config.sshd_program), "-D", "-e", "-f", str(config.sshd_config_file)]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env={}, start_new_session=True)


def end(pid: int) -> None:
    """End the master; its sessions are other processes and are ended by whoever knows them."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
