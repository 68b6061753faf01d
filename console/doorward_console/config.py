"""The console's configuration: one TOML file, read once, checked whole, then passed on.

Every fault is reported at once; unknown keys are errors. Secrets are paths, never values.
"""

import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH: Final = Path("/etc/doorward/console.toml")
ENVIRONMENT: Final = "DOORWARD_CONSOLE_CONFIG"
"""The one environment variable: where the file is. Read by the programs' entry points and by settings alone."""


class ConfigError(Exception):
    """The file has faults, all of them named; the operator mends it. Exit code 78."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__(f"{path}: " + "; ".join(faults) + ". Mend the file and start again.")
        self.path = path
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Config:
    """What the console's processes need to know.

    Attributes:
        address: the https address under which people and devices reach the console.
        listen_host: where web listens.
        listen_port: TCP port of web.
        tls_certificate: PEM chain that web shows; devices pin its first certificate at joining.
        tls_key: PEM private key of it.
        database: ``sqlite:PATH`` or ``postgresql://USER@HOST:PORT/NAME`` (password by PostgreSQL's own passfile).
        data_dir: folder of the SQLite file.
        run_dir: doorbells (unix datagram sockets).
        web_key: file with Django's secret key; web alone reads it.
        worker_key: file with 32 bytes that wrap the worker's keys; the worker alone reads it.
        signer_key: file with 32 bytes that wrap the signer's keys; the signer alone reads it.
        ceilings: the signer's own TOML file of limits; the signer alone needs it, and only root writes it.
        broker_host: the broker as console and devices reach it.
        broker_port: its TLS port.
        broker_ca: PEM of the installation's root.
        worker_name: this replica's name at the broker; ``worker-`` and letters.
        worker_certificate: PEM chain of this replica for the broker.
        worker_certificate_key: its private key.
        nightly_rehearsals: whether the worker has each connected, idle device rehearse once a night.
        licence_issuers: public keys (base64) whose licences count; web and signer both look at them.
    """

    address: str = "https://localhost:8000"
    listen_host: str = "127.0.0.1"
    listen_port: int = 8000
    tls_certificate: Path = Path("/etc/doorward/console-tls.pem")
    tls_key: Path = Path("/etc/doorward/console-tls.key")
    database: str = "sqlite:/var/lib/doorward-console/console.sqlite3"
    data_dir: Path = Path("/var/lib/doorward-console")
    run_dir: Path = Path("/run/doorward-console")
    web_key: Path = Path("/etc/doorward/web.key")
    worker_key: Path = Path("/etc/doorward/worker.key")
    signer_key: Path = Path("/etc/doorward/signer.key")
    ceilings: Path = Path("/etc/doorward/ceilings.toml")
    broker_host: str = "localhost"
    broker_port: int = 8883
    broker_ca: Path = Path("/etc/doorward/root-ca.pem")
    worker_name: str = "worker-1"
    worker_certificate: Path = Path("/etc/doorward/worker-mqtt.pem")
    worker_certificate_key: Path = Path("/etc/doorward/worker-mqtt.key")
    nightly_rehearsals: bool = True
    licence_issuers: tuple[str, ...] = ()


def config_from_file(path: Path) -> Config:
    """Read the configuration; raises ConfigError with every fault in it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read ({error.strerror})"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"is not TOML ({error})"]) from error
    return config_from_table(path, table)


def config_from_table(path: Path, table: Mapping[str, Any]) -> Config:
    """Check a decoded file whole; raises ConfigError with every fault in it."""
    known = {one.name: one.type for one in fields(Config)}
    faults = [f"unknown key {name!r}" for name in table if name not in known]
    values: dict[str, Any] = {}
    for name, expected in known.items():
        if name in table:
            fault = _fault(name, expected, table[name])
            faults += [fault] if fault else []
            values[name] = table[name] if fault else _value(expected, table[name])
    faults += _cross_faults(values) if not faults else []
    if faults:
        raise ConfigError(path, faults)
    return Config(**values)


def _value(expected: Any, value: Any) -> Any:
    if expected is Path:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _fault(name: str, expected: Any, value: Any) -> str | None:
    if name == "licence_issuers":
        is_so = isinstance(value, list) and all(_is_public_key(one) for one in value)
        return None if is_so else f"{name} is not a list of public keys, as doorward-console licence-issuer prints them"
    if expected is Path:
        return None if isinstance(value, str) and value.startswith("/") else f"{name} is not an absolute path"
    if isinstance(value, bool) is not (expected is bool) or not isinstance(value, expected):
        return f"{name} is not of type {expected.__name__}"
    if name.endswith("_port") and not 0 < value < 65_536:
        return f"{name} is not a TCP port"
    return None


def _is_public_key(text: Any) -> bool:
    """Tell whether ``text`` is base64 of 32 bytes; what is asked for help alone loads no signature library."""
    try:
        return isinstance(text, str) and len(base64.b64decode(text, validate=True)) == 32  # RFC 8032
    except ValueError:
        return False


def _cross_faults(values: Mapping[str, Any]) -> list[str]:
    faults = []
    if not str(values.get("address", "https://")).startswith("https://"):
        faults.append("address does not begin with https://")
    if not str(values.get("database", "sqlite:/")).startswith(("sqlite:/", "postgresql://")):
        faults.append("database is neither sqlite:/PATH nor postgresql://…")
    if not str(values.get("worker_name", "worker-1")).startswith("worker-"):
        faults.append("worker_name does not begin with worker-")
    return faults
