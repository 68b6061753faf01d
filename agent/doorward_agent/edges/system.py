"""The machine itself: its clocks, its boot id, its randomness, its facts, its free ports."""

import base64
import os
import platform
import random
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from doorward_protocol.targets import Offered

from doorward_agent.config import Config

LOW_PORT = 32_768
HIGH_PORT = 60_999
"""Which ports Linux gives to whoever asks for none (ip_local_port_range)."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """``contracts.Clock`` on the kernel's clocks."""

    def boottime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Machine:
    """``contracts.System`` on this machine; facts and boot id are read once."""

    def __init__(self, config: Config) -> None:
        self.boot = BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")
        self._facts = facts(config.firmware, config.firmware_file)
        self.forwards = tuple(Offered(name, one.target) for name, one in config.forwards.items())

    def facts(self) -> Mapping[str, str]:
        return self._facts

    def chance(self) -> float:
        return random.random()  # noqa: S311  jitter, not a secret

    def nonce(self) -> str:
        """Make 16 random bytes as base64url without padding (protocol.md §3)."""
        return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()

    def free_port(self) -> int:
        """Find a loopback port that is free now; the runner says door.port-busy if it is not any more.

        Without a descriptor to look with it is one by chance.
        """
        try:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                return int(listener.getsockname()[1])
        except OSError:
            return LOW_PORT + secrets.randbelow(HIGH_PORT - LOW_PORT + 1)


def facts(firmware: str, firmware_file: Path | None) -> Mapping[str, str]:
    """Say what this device is."""
    if firmware_file is not None and not firmware:
        firmware = _first_line(firmware_file)
    return {
        "hostname": socket.gethostname()[:200],
        "os": _os_name()[:200],
        "arch": os.uname().machine,
        "firmware": firmware[:200],
    }


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(400).strip()
    except OSError:
        return ""
