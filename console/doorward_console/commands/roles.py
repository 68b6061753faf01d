"""``doorward-console roles``: SQL for three PostgreSQL roles, so that the database, too, keeps the processes apart.

The roles are named like the system users, so that peer authentication finds them: ``database = "postgresql:///doorward"``.
Run it after init, as the tables' owner. What each may do is the table below, and nothing else is granted. A ``SELECT …
FOR UPDATE`` needs the right to update some column; where a process only locks, that is all it gets.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.apps import apps

_PREFIX: Final = re.compile(r"^[a-z][a-z0-9-]{0,20}$")
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_OURS: Final = ("people", "fleet", "maintenance", "history", "keys")
_HEARD: Final = "state, code, begun_at, ended_at, ended_by_name, status, said, result, lasted_ms"
"""What devices say of a command; what was asked for is none of it."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one process may do beyond reading our tables, by table."""

    process: str
    by_table: dict[str, tuple[str, ...]]


WEB: Final = Rights(
    "web",
    {
        "maintenance_intent": ("INSERT", "UPDATE"),
        "maintenance_session": ("UPDATE (state, code, closing_at, closed_by_name)",),
        "maintenance_order": ("UPDATE (state)",),
        "maintenance_command": ("INSERT", "UPDATE (state, code, ended_at, ended_by_name)"),
        "maintenance_batch": ("INSERT", "UPDATE (stopped_at, stopped_by_name)"),
        "history_pending": ("INSERT",),
        "history_chain": ("INSERT", "UPDATE (public_key, project_id)"),
        "keys_engineerpair": ("INSERT", "UPDATE"),
    },
)
WORKER: Final = Rights(
    "worker",
    {
        "fleet_device": ("UPDATE",),
        "fleet_relay": ("UPDATE",),
        "fleet_settingsread": ("INSERT", "UPDATE"),
        "maintenance_session": ("UPDATE",),
        "maintenance_order": ("INSERT", "UPDATE", "DELETE"),
        "maintenance_grant": ("UPDATE",),
        "maintenance_command": ("INSERT", f"UPDATE ({_HEARD})"),
        "maintenance_rehearsal": ("UPDATE (state)",),
        "history_record": ("INSERT",),
        "history_chain": ("INSERT", "UPDATE"),
        "history_pending": ("INSERT", "UPDATE", "DELETE"),
        "keys_key": ("INSERT",),
        "people_project": ("UPDATE (epoch)",),
    },
)
SIGNER: Final = Rights(
    "signer",
    {
        "fleet_device": ("UPDATE (state)",),
        "fleet_relay": ("UPDATE (epoch, sequence)",),
        "fleet_enrolment": ("UPDATE",),
        "maintenance_intent": ("UPDATE (state, code, session_id)",),
        "maintenance_session": ("INSERT", "UPDATE (ends_at, duration_s)"),
        "maintenance_desired": ("INSERT", "UPDATE"),
        "maintenance_order": ("INSERT", "UPDATE"),
        "maintenance_grant": ("INSERT",),
        "maintenance_rehearsal": ("INSERT",),
        "maintenance_command": ("UPDATE (state, code, expires_at, ordered_at, ended_at)",),
        "history_pending": ("INSERT",),
        "keys_key": ("INSERT",),
    },
)
WEB_WRITES: Final = ("people", "fleet", "account", "sessions")
"""Apps whose tables are web's own: people, devices, relays, sign-in."""
DEVICES_WORDS: Final = frozenset({"fleet_settingsread"})
"""Tables of those apps that web only reads: what devices said, as the worker heard it."""
COMMANDS: Final = {
    "web": {"INSERT": "state = 'asked' AND result IS NULL", "UPDATE": "true"},
    "worker": {"INSERT": "state = 'asked' AND by_id IS NULL", "UPDATE": "true"},
    "signer": {"UPDATE": "true"},
}
"""Which rows of commands each may write: nobody's are decided or answered from the start, and the worker's are nobody's wish, for
whoever may insert a row chooses all of its columns."""
HIDDEN_FROM_WEB: Final = "wrapped"
"""The column of ``keys_key`` that web never reads; it could not open it either."""


def run(arguments: argparse.Namespace) -> int:
    """Print the SQL; gives 2 for a prefix that is none."""
    if _PREFIX.fullmatch(arguments.prefix) is None:
        sys.stderr.write("--prefix is made of small letters, digits and hyphens, at most 21.\n")
        return 2
    sys.stdout.write("\n".join(statements(arguments.prefix)) + "\n")
    return 0


def statements(prefix: str) -> Iterator[str]:
    """Give the statements in their order; they can be run again after an update."""
    yield "BEGIN;"
    yield "SET LOCAL client_min_messages = warning;"
    yield "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;"
    for rights in (WEB, WORKER, SIGNER):
        yield from _role(f'"{prefix}-{rights.process}"', rights)
    yield "COMMIT;"


def _role(role: str, rights: Rights) -> Iterator[str]:
    yield f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};"
    yield f"GRANT USAGE ON SCHEMA public TO {role};"
    yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};"
    yield f"GRANT SELECT ON django_migrations TO {role};"
    for table, columns in _tables(_OURS):
        yield _readable(role, rights.process, table, columns)
    if rights.process == "web":
        own = (table for table, _ in _tables(WEB_WRITES) if table not in DEVICES_WORDS)
        yield from (f"GRANT {_ALL} ON {table} TO {role};" for table in own)
        yield from (f"GRANT SELECT ON {table} TO {role};" for table, _ in _tables(("auth", "contenttypes")))
    for table, granted in rights.by_table.items():
        yield f"GRANT {', '.join(granted)} ON {table} TO {role};"
    yield from _policies(role, COMMANDS[rights.process])


def _policies(role: str, writes: dict[str, str]) -> Iterator[str]:
    """Say which rows of commands a role may read and write (row security); the tables' owner is bound by none."""
    yield "ALTER TABLE maintenance_command ENABLE ROW LEVEL SECURITY;"
    for act, rows in {"SELECT": "true", **writes}.items():
        name = f'"{role.strip(chr(34))}-{act.lower()}"'
        yield f"DROP POLICY IF EXISTS {name} ON maintenance_command;"
        shown = "" if act == "INSERT" else " USING (true)"
        checked = "" if act == "SELECT" else f" WITH CHECK ({rows})"
        yield f"CREATE POLICY {name} ON maintenance_command FOR {act} TO {role}{shown}{checked};"


def _readable(role: str, process: str, table: str, columns: tuple[str, ...]) -> str:
    if process == "web" and table == "keys_key":
        seen = ", ".join(column for column in columns if column != HIDDEN_FROM_WEB)
        return f"GRANT SELECT ({seen}) ON {table} TO {role};"
    return f"GRANT SELECT ON {table} TO {role};"


def _tables(labels: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """List the tables of some apps, those between many and many included, with their columns."""
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label in labels:  # noqa: SLF001  # Django's documented name
            yield model._meta.db_table, tuple(str(field.column) for field in model._meta.concrete_fields)  # noqa: SLF001
