"""What sshd reads at each log-in: the tunnel CA, the principals file, and the hello program that its lines name."""

import pwd
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from doorward_protocol.grants import Grant

from doorward_relay.config import ConfigError, RelayConfig
from doorward_relay.edges.files import is_open_to_all, write_whole
from doorward_relay.principals import principals_text

_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")


class Admitting:
    """The files of one sshd."""

    def __init__(self, config: RelayConfig) -> None:
        """Look up the tunnel user; raises ConfigError when there is none."""
        try:
            self._entry = pwd.getpwnam(config.tunnel_user)
        except KeyError:
            raise ConfigError(
                [f"tunnel_user: {config.tunnel_user} does not exist; run doorward-relay install"]
            ) from None
        self._config = config
        self._hello = f"{_python()} -I -S {config.hello_program} --socket {config.hello_socket}"

    @property
    def tunnel_uid(self) -> int:
        return self._entry.pw_uid

    @property
    def tunnel_gid(self) -> int:
        return self._entry.pw_gid

    def place_hello(self) -> None:
        """Put the hello program where the tunnel user can read it; ours may stand in a closed home."""
        text = resources.files("doorward_relay").joinpath("hello.py").read_text()
        write_whole(self._config.hello_program, text, 0o644)

    def admit(self, grants: Iterable[Grant]) -> None:
        """Let sshd admit these grants' devices and nobody else."""
        write_whole(self._config.principals_file, principals_text(grants, self._hello), 0o644)

    def trust(self, tunnel_ca: str | None) -> None:
        """Let sshd accept certificates of this CA for the tunnel user, or of none."""
        write_whole(self._config.tunnel_ca_file, "" if tunnel_ca is None else f"{tunnel_ca}\n", 0o644)


def _python() -> Path:
    """Find an interpreter that the tunnel user can run: ours, or the system's."""
    own = Path(sys.executable).resolve()
    return own if is_open_to_all(own) else _SYSTEM_PYTHON
