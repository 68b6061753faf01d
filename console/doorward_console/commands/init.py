"""``doorward-console init``: everything that has to be there before the first start, once.

Configuration, wrapping keys, ceilings, database, the root CA and what it certifies for web, broker and worker, the first
owner and the first project with its keys. Nothing that is there is overwritten: a second run says so and changes nothing.
"""

import argparse
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from doorward_console.__main__ import set_up_django
from doorward_console.config import Config, ConfigError, config_from_file
from doorward_console.edges.key_files import SECRET_MODE, Owner, write_new, write_new_wrapping_key
from doorward_console.edges.system_users import ensure_folder, ensure_group, ensure_user
from doorward_console.keys.ceilings import text_from_ceilings
from doorward_console.maintenance.decisions import Ceilings

_OPEN_MODE = 0o644
_PASSWORD_BYTES = 15
"""120 bits, 20 characters to type once."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose the files of each process are; the group is shared, for doorbells and an SQLite file."""

    web: Owner
    worker: Owner
    signer: Owner
    shared: Owner


def run(arguments: argparse.Namespace) -> int:
    """Set the installation up; gives 1, having changed nothing, when there is one already."""
    path: Path = arguments.config_dir / "console.toml"
    if path.exists():
        sys.stderr.write(f"{path} is there already: this console is set up. Start it: doorward-console serve\n")
        return 1
    if arguments.separate and os.geteuid() != 0:
        sys.stderr.write("--separate makes system users and so needs root. Run it as root, or leave it out.\n")
        return 1
    owners = _owners(arguments.separate)
    _write_files(arguments, path, owners)
    set_up_django(path)
    from doorward_console.commands import first  # Django's models can only be imported once it is set up

    password = _password(arguments.password_file)
    first.migrate_and_fill(arguments.owner, password, arguments.project)
    _certify(config_from_file(path), owners)
    _share_database(config_from_file(path), owners)
    _tell(arguments, path, password)
    return 0


def _owners(prefix: str | None) -> Owners:
    if prefix is None:
        return Owners(Owner(), Owner(), Owner(), Owner())
    group = ensure_group(prefix)
    web, worker, signer = (ensure_user(f"{prefix}-{name}", prefix) for name in ("web", "worker", "signer"))
    return Owners(web, worker, signer, Owner(0, group))


def _write_files(arguments: argparse.Namespace, path: Path, owners: Owners) -> None:
    """Write folders, configuration, ceilings and the three secrets; the configuration is checked as it will be read."""
    folder: Path = arguments.config_dir
    ensure_folder(folder, 0o755, Owner())
    shared_mode = 0o2770 if arguments.separate else 0o700
    for shared in (arguments.data_dir, arguments.run_dir):
        ensure_folder(shared, shared_mode, owners.shared)
    ensure_folder(arguments.data_dir / "static", 0o755, Owner())
    write_new(path, _config_text(arguments).encode(), _OPEN_MODE)
    try:
        config_from_file(path)
    except ConfigError:
        path.unlink()
        raise
    write_new(folder / "ceilings.toml", text_from_ceilings(Ceilings()).encode(), _OPEN_MODE)
    write_new(folder / "web.key", secrets.token_urlsafe(50).encode(), SECRET_MODE, owners.web)
    write_new_wrapping_key(folder / "worker.key", owners.worker)
    write_new_wrapping_key(folder / "signer.key", owners.signer)


def _config_text(arguments: argparse.Namespace) -> str:
    folder = arguments.config_dir.absolute()
    listen_host, listen_port = _host_and_port(arguments.listen)
    broker_host, broker_port = _host_and_port(arguments.broker)
    data_dir, run_dir = arguments.data_dir.absolute(), arguments.run_dir.absolute()
    database = arguments.database or f"sqlite:{data_dir}/console.sqlite3"
    return f"""\
# The console's configuration. examples/console.toml (installed: share/doorward/examples) explains every key.
# Unknown keys are errors; secrets are paths, never values.
address = {_quoted(arguments.address.rstrip("/"))}
listen_host = {_quoted(listen_host)}
listen_port = {listen_port}
tls_certificate = {_quoted(folder / "console-tls.pem")}
tls_key = {_quoted(folder / "console-tls.key")}
database = {_quoted(database)}
data_dir = {_quoted(data_dir)}
run_dir = {_quoted(run_dir)}
web_key = {_quoted(folder / "web.key")}
worker_key = {_quoted(folder / "worker.key")}
signer_key = {_quoted(folder / "signer.key")}
ceilings = {_quoted(folder / "ceilings.toml")}
broker_host = {_quoted(broker_host)}
broker_port = {broker_port}
broker_ca = {_quoted(folder / "root-ca.pem")}
worker_name = "worker-1"
worker_certificate = {_quoted(folder / "worker-mqtt.pem")}
worker_certificate_key = {_quoted(folder / "worker-mqtt.key")}
"""


def _quoted(value: object) -> str:
    """Write a TOML basic string."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(Path("--listen and --broker"), [f"{text!r} is not HOST:PORT"])
    return host.strip("[]"), int(port)


def _password(path: Path | None) -> str:
    if path is None:
        return secrets.token_urlsafe(_PASSWORD_BYTES)
    return path.read_text(encoding="utf-8").strip()


def _certify(config: Config, owners: Owners) -> None:
    """Write the root and what it certifies: web's TLS, the broker's, and the worker's name at the broker."""
    from doorward_console.commands import first  # Django's models can only be imported once it is set up

    folder = config.broker_ca.parent
    made = first.certificates(config, _hosts(urlsplit(config.address).hostname, config.listen_host))
    write_new(config.broker_ca, made.root_pem.encode(), _OPEN_MODE)
    write_new(config.tls_certificate, made.web.chain_pem.encode(), _OPEN_MODE)
    write_new(config.tls_key, made.web.key_pem(), SECRET_MODE, owners.web)
    write_new(config.worker_certificate, made.worker.chain_pem.encode(), _OPEN_MODE)
    write_new(config.worker_certificate_key, made.worker.key_pem(), SECRET_MODE, owners.worker)
    write_new(folder / "broker.pem", made.broker.chain_pem.encode(), _OPEN_MODE)
    write_new(folder / "broker.key", made.broker.key_pem(), SECRET_MODE)


def _hosts(*names: str | None) -> tuple[str, ...]:
    """List names for a certificate, each once; an address that means "everywhere" is none."""
    return tuple(dict.fromkeys(name for name in names if name and name not in {"0.0.0.0", "::"}))  # noqa: S104  # not bound here


def _share_database(config: Config, owners: Owners) -> None:
    """Let the three users share one SQLite file; SQLite gives its journal the file's own mode."""
    scheme, _, place = config.database.partition(":")
    if scheme != "sqlite" or owners.shared.group is None:
        return
    for path in Path(place).parent.glob(Path(place).name + "*"):
        os.chown(path, 0, owners.shared.group)
        path.chmod(0o660)


def _tell(arguments: argparse.Namespace, path: Path, password: str) -> None:
    shown = "" if arguments.password_file else f"\nPassword, shown once: {password}"
    sys.stdout.write(
        f"""The console is set up: {path}
First owner: {arguments.owner}{shown}
Next:
  doorward-console --config {path} broker-config /etc/mosquitto/doorward   then start Mosquitto with it
  doorward-console --config {path} serve                                   then open {arguments.address}
  doorward-console --config {path} check
"""
    )
