"""What sshd reads at each log-in: the tunnel CA, the principals file, and the hello program that its lines name."""

import logging
import pwd
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from doorward_protocol.grants import Grant

from doorward_relay.config import ConfigError, RelayConfig
from doorward_relay.contracts import StoreUnavailable
from doorward_relay.edges.files import empty, is_open_to_all, write_whole
from doorward_relay.principals import admits_more, principals_text

_LOG: Final = logging.getLogger("doorward.relay")
_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")


class Admitting:
    """The files of one sshd (``contracts.Admission``)."""

    def __init__(self, config: RelayConfig) -> None:
        """Look up the tunnel user; raises ConfigError when there is none."""
        try:
            self._entry = pwd.getpwnam(config.tunnel_user)
        except KeyError:
            raise ConfigError(
                [f"tunnel_user: {config.tunnel_user} does not exist; run doorward-relay install"]
            ) from None
        self._config = config
        self._has_hello, self._is_listed = False, True
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
        self._has_hello = _is_written(self._config.hello_program, text)

    def admit(self, grants: Iterable[Grant]) -> None:
        """Let sshd admit these grants' devices and nobody else; on a full disk rather nobody than one too many."""
        if not self._has_hello:
            self.place_hello()
        path, wanted = self._config.principals_file, principals_text(grants, self._hello)
        was_listed, self._is_listed = self._is_listed, _is_written(path, wanted)
        if not self._is_listed and admits_more(_text_of(path), wanted):
            empty(path)
        if was_listed and not self._is_listed:
            _LOG.error("principals.not-written path=%s; nobody new is admitted until it can be written", path)

    @property
    def is_settled(self) -> bool:
        """Whether every file says what it should; False after a write that failed."""
        return self._has_hello and self._is_listed

    def trust(self, tunnel_ca: str | None) -> None:
        """Let sshd accept certificates of this CA for the tunnel user, or of none; raises StoreUnavailable for a CA alone."""
        path = self._config.tunnel_ca_file
        try:
            write_whole(path, "" if tunnel_ca is None else f"{tunnel_ca}\n", 0o644)
        except OSError as error:
            if tunnel_ca is not None:
                raise StoreUnavailable(f"{path} cannot be written") from error
            empty(path)


def _is_written(path: Path, text: str) -> bool:
    """Make a file say ``text``, and tell whether it does."""
    if _text_of(path) == text and path.exists():
        return True
    try:
        write_whole(path, text, 0o644)
    except OSError:
        return False
    return True


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _python() -> Path:
    """Find an interpreter that the tunnel user can run: ours, or the system's."""
    own = Path(sys.executable).resolve()
    return own if is_open_to_all(own) else _SYSTEM_PYTHON
