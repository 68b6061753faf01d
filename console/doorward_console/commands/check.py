"""``doorward-console check``: what works and what does not, each line with its next step.

Asks what can be asked from outside: it needs none of the keys, and says so where it may not look.
"""

import argparse
import json
import os
import shutil
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from doorward_protocol.reasons import reason_of

from doorward_console.config import Config
from doorward_console.edges import reserve
from doorward_console.edges.doorbell import is_listening
from doorward_console.edges.system_users import user_of
from doorward_console.fleet.models import Relay
from doorward_console.history.models import Pending
from doorward_console.maintenance.models import Intent

_LIMIT_S: Final = 5
_STUCK: Final = timedelta(seconds=10)
"""Signer and worker look every two seconds; what waits for longer is not being looked at."""
_LEAST_ROOM: Final = 2**20
"""A wish writes some 24 KiB, and the database's log has to grow before it shrinks."""
_SKEW_MS: Final = 5_000
"""A tunnel certificate starts 5 minutes early; ends are compared by both clocks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line; ``ok`` is null where this user may not look."""

    what: str
    ok: bool | None
    message: str
    next: str | None = None


def good(what: str, message: str) -> Finding:
    return Finding(what, ok=True, message=message)


def bad(what: str, message: str, next_step: str) -> Finding:
    return Finding(what, ok=False, message=message, next=next_step)


def unseen(what: str, message: str, next_step: str | None = None) -> Finding:
    return Finding(what, ok=None, message=message, next=next_step)


def run(arguments: argparse.Namespace) -> int:
    """Print findings; gives 1 when one of them is a fault."""
    findings = list(_findings(settings.CONFIG))
    failed = any(one.ok is False for one in findings)
    if arguments.json:
        sys.stdout.write(json.dumps({"ok": not failed, "findings": [asdict(one) for one in findings]}) + "\n")
    else:
        for one in findings:
            sys.stdout.write(_line(one))
    return 1 if failed else 0


def _line(one: Finding) -> str:
    word = {True: "ok  ", False: "FAIL", None: "?   "}[one.ok]
    return f"{word} {one.what}: {one.message}" + (f"\n       next: {one.next}" if one.next else "") + "\n"


def _findings(config: Config) -> Iterator[Finding]:
    """Look at everything; what hangs on the database is left out when that does not answer."""
    yield good("configuration", config.address)
    yield from _keys(config)
    yield _certificate(config)
    yield _disk(config)
    database = _database()
    yield database
    if database.ok:
        yield from _with_database(config)
    yield _broker(config)


def _with_database(config: Config) -> Iterator[Finding]:
    yield _migrations()
    yield _process("signer", Intent.objects.filter(state="asked", at__lt=timezone.now() - _STUCK).exists)
    yield _process("worker", Pending.objects.filter(at__lt=timezone.now() - _STUCK).exists)
    yield _web(config)
    for relay in Relay.objects.filter(paired_at__isnull=False, removed_at__isnull=True).order_by("name"):
        yield _relay(relay)
        yield _clock(relay)


def _keys(config: Config) -> Iterator[Finding]:
    paths = {"web": config.web_key, "worker": config.worker_key, "signer": config.signer_key}
    owners: dict[str, str] = {}
    for process, path in paths.items():
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            owners[process] = user_of(path)
        except OSError as error:
            yield bad(f"{process} key", f"{path}: {error.strerror}", "doorward-console init")
            continue
        shared = bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
        message = f"{path}, readable by {'others, too' if shared else owners[process]} (mode {mode:04o})"
        name = f"{process} key"
        yield bad(name, message, f"chmod 0400 {path}") if shared else good(name, message)
    if len(set(owners.values())) < len(paths):
        yield unseen("separation", "the processes share a user: good for a trial", _SEPARATE)
    else:
        yield good("separation", "each process has its own user")


_START_BROKER: Final = "Start Mosquitto with what doorward-console broker-config wrote"
_SEPARATE: Final = "For more, set up anew with doorward-console init --separate"


def _certificate(config: Config) -> Finding:
    try:
        ssl.create_default_context(cafile=str(config.tls_certificate))
    except OSError as error:
        return bad("TLS certificate", f"{config.tls_certificate}: {error}", "doorward-console init")
    return good("TLS certificate", str(config.tls_certificate))


def _disk(config: Config) -> Finding:
    """Look at where the console writes; what room PostgreSQL has is seen by nobody but its own machine."""
    scheme, _, path = config.database.partition(":")
    folder = Path(path).parent if scheme == "sqlite" else config.data_dir
    try:
        room = shutil.disk_usage(folder).free
    except OSError as error:
        return bad(
            "disk", f"{folder}: {error.strerror}", "Make the folder, or mend database and data_dir in the configuration"
        )
    if room < _LEAST_ROOM:
        return bad(
            "disk",
            f"{folder} has room for {room // 1024} KiB: what is asked for may be refused. {_for_shutting()}",
            "Make room there, or give it a larger disk",
        )
    return good("disk", f"{folder} has room for {room // 2**20} MiB")


def _for_shutting() -> str:
    kib = reserve.kept() // 1024
    return f"{kib} KiB beside it are kept for shutting doors" if kib else "None is kept for shutting doors"


def _database() -> Finding:
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        return bad("database", str(error).strip(), "Start it, or mend database in the configuration")
    return good("database", f"{connection.vendor} answers")


def _migrations() -> Finding:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return bad("tables", f"{len(missing)} migrations are missing", "doorward-console migrate")
    return good("tables", "as this version needs them")


def _process(name: str, is_stuck: Callable[[], bool]) -> Finding:
    start = f"Start it: doorward-console {name}"
    if is_stuck():
        return bad(name, "something has waited for it for more than 10 s", start)
    hears = is_listening("signer" if name == "signer" else "worker")
    if hears is None:
        return unseen(name, "nothing waits for it; this user cannot see whether it runs")
    return good(name, "answers its doorbell") if hears else bad(name, "does not run", start)


def _web(config: Config) -> Finding:
    fault = _fault_of_dialling(config.listen_host, config.listen_port)
    if fault:
        return bad("web", fault, "Start it: doorward-console web")
    return good("web", f"listens on {config.listen_host}:{config.listen_port}")


def _broker(config: Config) -> Finding:
    where = f"{config.broker_host}:{config.broker_port}"
    if not os.access(config.worker_certificate_key, os.R_OK):
        fault = _fault_of_dialling(config.broker_host, config.broker_port)
        return bad("broker", fault, _START_BROKER) if fault else unseen("broker", f"{where} is open")
    try:
        context = ssl.create_default_context(cafile=str(config.broker_ca))
        context.load_cert_chain(str(config.worker_certificate), str(config.worker_certificate_key))
        with (
            socket.create_connection((config.broker_host, config.broker_port), timeout=_LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=config.broker_host),
        ):
            return good("broker", f"{where} answers with TLS")
    except OSError as error:
        return bad("broker", f"{where}: {error}", _START_BROKER)


def _relay(relay: Relay) -> Finding:
    fault = _fault_of_dialling(relay.host, relay.control_port)
    if fault:
        return bad(f"relay {relay.name}", fault, "On the relay: doorward-relay status")
    if relay.code:
        reason = reason_of(relay.code)
        return bad(f"relay {relay.name}", f"{relay.code}: {reason.meaning}", reason.next)
    return good(f"relay {relay.name}", f"control port {relay.control_port} is open")


def _clock(relay: Relay) -> Finding:
    skew = relay.clock_skew_ms
    if skew is None:
        return unseen(f"clock of {relay.name}", "not heard yet")
    name, message = f"clock of {relay.name}", f"{skew} ms from the console's"
    return good(name, message) if abs(skew) <= _SKEW_MS else bad(name, message, "Set both clocks by NTP")


def _fault_of_dialling(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), timeout=_LIMIT_S).close()
    except OSError as error:
        return f"{host}:{port}: {error}"
    return None
