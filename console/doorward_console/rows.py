"""Writing columns of many rows in one statement: what devices say at once is stored at once.

Saved one by one a row costs a millisecond and a half, most of it Django's; its ``bulk_update`` writes a CASE for each value and is no
quicker with ten columns. Called by whoever has locked the rows.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from django.db import connection
from django.db.models import CharField, Field, Model

AT_ONCE: Final = 500
"""Rows in one statement: SQLite takes 32,766 values in one, and a device has some thirty."""


def store_each(rows: Sequence[Model], names: Collection[str]) -> None:
    """Store these fields of rows of one model as they are now, in the caller's transaction.

    Raises:
        DataError: a value does not fit its column.
    """
    for start in range(0, len(rows), AT_ONCE):
        _store(rows[start : start + AT_ONCE], names)


def _store(rows: Sequence[Model], names: Collection[str]) -> None:
    options = rows[0]._meta  # noqa: SLF001  # Django's documented name
    fields = [field for field in options.concrete_fields if field.primary_key or field.name in names]
    plain = "(" + ", ".join("%s" for _ in fields) + ")"
    first = "(" + ", ".join(f"CAST(%s AS {_type_of(field)})" for field in fields) + ")"
    values = ", ".join([first if connection.vendor == "postgresql" else plain] + [plain] * (len(rows) - 1))
    setting = ", ".join(f"{one.column} = said.{one.column}" for one in fields if not one.primary_key)
    table, key = options.db_table, options.pk.column
    with connection.cursor() as cursor:
        cursor.execute(  # names are the model's own, values are parameters
            f"WITH said ({', '.join(str(one.column) for one in fields)}) AS (VALUES {values}) UPDATE {table} SET {setting} FROM said WHERE {table}.{key} = said.{key}",  # noqa: S608
            [field.get_db_prep_save(getattr(one, field.attname), connection) for one in rows for field in fields],
        )


def _type_of(field: "Field[Any, Any]") -> str | None:
    """Name a column's type, for PostgreSQL has to be told; a text without its limit, for a cast cuts what is too long, silently."""
    return "text" if isinstance(field, CharField) else field.cast_db_type(connection)
