"""The agent's configuration: one frozen value, made once at start from one TOML file.

Every key is optional; a default is the safe choice. Unknown keys are faults, and all faults are reported at once.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from doorward_agent.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH: Final = Path("/etc/doorward/agent.toml")


@dataclass(frozen=True, slots=True)
class AllowedForward:
    """A target that this device leads to under a name.

    Attributes:
        target: ``tcp:HOST:PORT``.
        within: networks in which HOST's address has to be; anywhere but at the device itself where there are none.
    """

    target: str
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """How this device's agent works. ``examples/agent.toml`` explains each key for whoever edits the file.

    Attributes:
        runtime_dir: what lives as long as a boot; None takes ``/run/doorward-agent`` where the agent may write there
            (systemd makes it), else the folder ``run`` in ``state_dir``.
        runner: how the runner is reached: ``socket`` (systemd), ``sudo`` or, rootless, ``command`` (``runner_command``).
        tunnel: who dials relays: ``ssh``, ``paramiko``, or ``auto``, which takes ssh where the program is.
        longest_session_s: longer orders are refused, whoever signs them.
        forwards: the named forwards that may be opened, whoever signs them; none.
    """

    state_dir: Path = Path("/var/lib/doorward")
    runtime_dir: Path | None = None
    user: str = "doorward-agent"
    runner: str = "socket"
    runner_socket: Path = Path("/run/doorward-runner/socket")
    runner_command: tuple[str, ...] = ("/usr/bin/sudo", "-n", "/usr/bin/doorward-runner")
    runner_prepare_command: tuple[str, ...] = ("/usr/bin/doorward-runner", "prepare")
    runner_pin_command: tuple[str, ...] = ("/usr/bin/doorward-runner", "pin")
    runner_nonce_file: Path = Path("/run/doorward-runner/nonce")
    runner_limit_s: int = 30
    tunnel: str = "auto"
    ssh_program: Path = Path("/usr/bin/ssh")
    login_user: str = "remote-admin"
    longest_session_s: int = 28_800
    keepalive_s: int = 30
    relay_keepalive_s: int = 15
    tunnel_limit_s: int = 20
    journal_max_bytes: int = 8_388_608
    firmware: str = ""
    firmware_file: Path | None = None
    forwards: Mapping[str, AllowedForward] = field(default_factory=dict)


def config_from_file(path: Path) -> Config:
    """Read and check the file; a file that is not there, at the default place only, means all defaults.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has faults.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path == DEFAULT_PATH:
            return Config()
        raise ConfigError(str(path), ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"it cannot be read: {error}"]) from None
    try:
        return config_from_document(tomllib.loads(text), str(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"it is not TOML: {error}"]) from None


def config_from_document(document: Mapping[str, Any], source: str) -> Config:
    """Check every key and build the configuration; raises ConfigError with all faults."""
    known = {one.name for one in fields(Config)}
    faults = [f"{name} is not a key of this file" for name in document if name not in known]
    values: dict[str, Any] = {}
    for name in known & set(document):
        value, found = _read(name, document[name])
        values[name] = value
        faults += found
    if faults:
        raise ConfigError(source, sorted(faults))
    return Config(**values)


def _read(name: str, value: Any) -> tuple[Any, list[str]]:
    """Give a key's value, and what is wrong with it."""
    if name == "forwards":
        from doorward_agent.forwards_table import forwards_from_table  # an agent without any does without

        return forwards_from_table(value)
    try:
        return _READERS[name](value), []
    except ValueError as fault:
        return None, [f"{name} {fault}"]


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("has to be an absolute path")
    return Path(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ValueError("has to be a string of at most 200 printable characters")
    return value


def _name(value: Any) -> str:
    if not _text(value) or not value.replace("-", "").replace("_", "").isalnum():
        raise ValueError("has to be a user's name")
    return str(value)


def _command(value: Any) -> tuple[str, ...]:
    is_list = isinstance(value, list) and value and all(isinstance(word, str) for word in value)
    if not is_list or not value[0].startswith("/"):
        raise ValueError("has to be a list of strings that begins with an absolute path")
    return tuple(value)


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError("has to be one of: " + ", ".join(choices))
        return str(value)

    return read


def _integer(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"has to be a whole number from {least} to {most}")
        return value

    return read


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state_dir": _path,
    "runtime_dir": _path,
    "user": _name,
    "runner": _one_of("socket", "sudo", "command"),
    "runner_socket": _path,
    "runner_command": _command,
    "runner_prepare_command": _command,
    "runner_pin_command": _command,
    "runner_nonce_file": _path,
    "runner_limit_s": _integer(1, 300),
    "tunnel": _one_of("auto", "ssh", "paramiko"),
    "ssh_program": _path,
    "login_user": _name,
    "longest_session_s": _integer(60, 604_800),
    "keepalive_s": _integer(5, 3_600),
    "relay_keepalive_s": _integer(1, 3_600),
    "tunnel_limit_s": _integer(2, 300),
    "journal_max_bytes": _integer(262_144, 1_073_741_824),
    "firmware": _text,
    "firmware_file": _path,
}
