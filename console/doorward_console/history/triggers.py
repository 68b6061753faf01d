"""The database's own word that records are only ever added: triggers that refuse to change or remove one.

Django's rights end at the database's door; these hold for whoever has the connection. Source: SQLite CREATE TRIGGER;
PostgreSQL, Trigger Functions.
"""

from typing import Final

SQLITE_ADD: Final = tuple(
    f"""CREATE TRIGGER history_record_no_{verb.lower()} BEFORE {verb} ON history_record
    BEGIN SELECT RAISE(ABORT, 'records are only ever added'); END"""
    for verb in ("UPDATE", "DELETE")
)
SQLITE_DROP: Final = tuple(f"DROP TRIGGER IF EXISTS history_record_no_{verb}" for verb in ("update", "delete"))

POSTGRES_ADD: Final = (
    """CREATE FUNCTION history_record_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'records are only ever added'; END $$""",
    """CREATE TRIGGER history_record_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON history_record
    FOR EACH STATEMENT EXECUTE FUNCTION history_record_refuse()""",
)
POSTGRES_DROP: Final = (
    "DROP TRIGGER IF EXISTS history_record_only_added ON history_record",
    "DROP FUNCTION IF EXISTS history_record_refuse()",
)


def add_statements(vendor: str) -> tuple[str, ...]:
    """Give the statements that make records append-only on this kind of database."""
    return POSTGRES_ADD if vendor == "postgresql" else SQLITE_ADD


def drop_statements(vendor: str) -> tuple[str, ...]:
    """Give the statements that take the triggers away again."""
    return POSTGRES_DROP if vendor == "postgresql" else SQLITE_DROP
