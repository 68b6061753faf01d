"""The relay's configuration: one TOML file, read once at start, all faults told at once.

Reads text, not files (``edges.files`` does). Every other path of the relay follows from ``state_dir`` and ``run_dir``,
so that several relays stand side by side on one machine. examples/relay.toml explains each key.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH: Final = Path("/etc/doorward/relay.toml")
LONGEST_SESSION_S: Final = 7 * 86_400
"""No configuration goes beyond a week: ended sessions are remembered for a month, and must outlast every grant."""

MANAGED: Final = "managed"
EMBEDDED: Final = "embedded"
_KINDS: Final = (MANAGED, EMBEDDED)

_PATH: Final = re.compile(r"^/[A-Za-z0-9._/+-]*$")
"""What sshd's configuration and its principals file take without quotes."""
_ANY_PATH: Final = re.compile(r'^/[^"\\\x00-\x1f\x7f]*$')
"""What TOML takes between quotes as it is: the embedded relay has no other reader."""
_HOST: Final = re.compile(r"^[A-Za-z0-9.:-]{1,253}$")
_USER: Final = re.compile(r"^[a-z_][a-z0-9_-]{0,31}$")


class ConfigError(Exception):
    """The operator has to change the file (exit 78)."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class AlreadyRunning(Exception):
    """Another process serves this relay (exit 75): two on one ledger would end each other's sessions."""

    def __init__(self, config: "RelayConfig", holder: str) -> None:
        unit = "doorward-relay-embedded" if config.is_embedded else "doorward-relay"
        super().__init__(
            f"Another doorward-relay runs here, process {holder}: it holds {config.lock_file}. "
            f"Leave it at work, or end it first: systemctl stop {unit}"
        )


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """One relay.

    Attributes:
        host: name or address by which devices, engineers and the console reach it; the probe connects there.
        listen: address that sshd and the control API bind, ``*`` for all.
        ssh_port: of the relay's own sshd.
        control_port: of the control API.
        ports: first and last port that devices may be given.
        longest_session_s: ceiling for one grant, in seconds.
        state_dir: what has to outlive a reboot; root's, and so must be all folders above it.
        run_dir: what need not.
        tunnel_user: whom devices log in as; a system user beside OpenSSH, in the embedded relay just a name.
        sshd_program: absolute; unused by the embedded relay.
        kind: ``managed`` (beside an OpenSSH of its own) or ``embedded`` (one process, any user).
    """

    host: str
    listen: str = "*"
    ssh_port: int = 2222
    control_port: int = 8443
    ports: tuple[int, int] = (20_000, 29_999)
    longest_session_s: int = 86_400
    state_dir: Path = Path("/var/lib/doorward-relay")
    run_dir: Path = Path("/run/doorward-relay")
    tunnel_user: str = "doorward-tunnel"
    sshd_program: Path = Path("/usr/sbin/sshd")
    kind: str = MANAGED

    @property
    def is_embedded(self) -> bool:
        return self.kind == EMBEDDED

    @property
    def sshd_config_file(self) -> Path:
        return self.state_dir / "sshd" / "sshd_config"

    @property
    def host_key_file(self) -> Path:
        return (self.state_dir if self.is_embedded else self.state_dir / "sshd") / "ssh_host_ed25519_key"

    @property
    def tunnel_ca_file(self) -> Path:
        return self.state_dir / "sshd" / "tunnel_ca.pub"

    @property
    def principals_file(self) -> Path:
        return self.run_dir / "principals"

    @property
    def database_file(self) -> Path:
        return self.state_dir / "relay.db"

    @property
    def reserve_file(self) -> Path:
        return self.state_dir / "ended.reserve"

    @property
    def record_key_file(self) -> Path:
        return self.state_dir / "record.key"

    @property
    def tls_certificate_file(self) -> Path:
        return self.state_dir / "tls.crt"

    @property
    def tls_key_file(self) -> Path:
        return self.state_dir / "tls.key"

    @property
    def sshd_pid_file(self) -> Path:
        return self.run_dir / "sshd.pid"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / "lock"

    @property
    def status_socket(self) -> Path:
        return self.run_dir / "status.sock"

    @property
    def hello_socket(self) -> Path:
        return self.run_dir / "hello.sock"

    @property
    def hello_program(self) -> Path:
        return self.run_dir / "hello.py"


def config_from_text(text: str) -> RelayConfig:
    """Read relay.toml; raises ConfigError with every fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not TOML: {error}"]) from None
    return config_from_document(document)


def config_from_document(document: Mapping[str, Any]) -> RelayConfig:
    """Read a configuration from its keys; raises ConfigError with every fault."""
    known = {one.name for one in fields(RelayConfig)}
    faults = [f"{name}: unknown key; known are {', '.join(sorted(known))}" for name in sorted(set(document) - known)]
    if "host" not in document:
        faults.append("host: is missing; it is the name by which devices and engineers reach this relay")
    values: dict[str, Any] = {name: document[name] for name in {"kind"} & set(document)}
    if document.get("kind", MANAGED) not in _KINDS:
        faults.append(f"kind: is none of {', '.join(_KINDS)}")
    for name in (known - {"kind"}) & set(document):
        wrong = _fault(name, document[name], paths=_ANY_PATH if document.get("kind") == EMBEDDED else _PATH)
        if wrong is not None:
            faults.append(f"{name}: {wrong}")
        values[name] = _value(name, document[name]) if wrong is None else None
    if faults:
        raise ConfigError(sorted(faults))
    config = RelayConfig(**values)
    _refuse_collisions(config)
    return config


def text_from_config(config: RelayConfig) -> str:
    """Write relay.toml as ``install`` leaves it."""
    lines = ["# Written by doorward-relay install; examples/relay.toml explains each key."]
    lines += [f"{one.name} = {_toml(getattr(config, one.name))}" for one in fields(RelayConfig)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{value[0]}, {value[1]}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _value(name: str, given: Any) -> Any:
    if name == "ports":
        return (given[0], given[1])
    return Path(given) if name in {"state_dir", "run_dir", "sshd_program"} else given


def _fault(name: str, given: Any, *, paths: re.Pattern[str]) -> str | None:
    match name:
        case "ssh_port" | "control_port":
            return None if _is_port(given) else "is not a TCP port from 1 to 65535"
        case "ports":
            return None if _is_range(given) else "is not [first, last], two TCP ports from 1024 on"
        case "longest_session_s":
            fits = isinstance(given, int) and not isinstance(given, bool) and 60 <= given <= LONGEST_SESSION_S
            return None if fits else f"is not a number of seconds from 60 to {LONGEST_SESSION_S}"
        case "state_dir" | "run_dir" | "sshd_program":
            fits = isinstance(given, str) and paths.fullmatch(given) is not None
            return None if fits else "is not an absolute path of letters, digits and . _ + - alone"
        case "tunnel_user":
            fits = isinstance(given, str) and _USER.fullmatch(given) is not None and given != "root"
            return None if fits else "is not the name of a system user other than root"
        case _:
            fits = isinstance(given, str) and (_HOST.fullmatch(given) is not None or (name, given) == ("listen", "*"))
            return None if fits else "is not a host name or an address"


def _refuse_collisions(config: RelayConfig) -> None:
    low, high = config.ports
    faults = [
        f"{name}: {port} lies within ports, which devices are given"
        for name, port in (("ssh_port", config.ssh_port), ("control_port", config.control_port))
        if low <= port <= high
    ]
    if config.ssh_port == config.control_port:
        faults.append("control_port: is the same as ssh_port")
    if faults:
        raise ConfigError(faults)


def _is_port(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 < given < 65_536


def _is_range(given: Any) -> bool:
    if not isinstance(given, list) or len(given) != 2 or not all(_is_port(one) for one in given):
        return False
    return bool(1024 <= given[0] <= given[1])
