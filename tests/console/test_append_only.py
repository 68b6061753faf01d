"""Records can be added and never changed or removed, by the database's own triggers."""

from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction
from doorward_console.history.models import Record

from tests.console.conftest import House, make_house


def add_record(house: House) -> Record:
    record: Record = Record.objects.create(
        project=house.project, author=f"console:{house.project.id}", n=1, digest="sha256:", verb="session.on", envelope=b"{}"
    )  # fmt: skip
    return record


def attempts(record: Record) -> list[Callable[[], object]]:
    def by_hand(statement: str) -> Callable[[], object]:
        return lambda: connection.cursor().execute(statement)

    return [
        lambda: Record.objects.filter(id=record.id).update(verb="session.off"),
        record.delete,
        by_hand("UPDATE history_record SET data = '{}'"),
        by_hand("DELETE FROM history_record"),
    ]


def refuse_all(acts: list[Callable[[], object]]) -> None:
    for act in acts:
        with pytest.raises(DatabaseError, match="only ever added"), transaction.atomic():
            act()
    assert Record.objects.get().verb == "session.on"


@pytest.mark.threat("web-process-history")
def test_record_when_changed_or_removed_on_sqlite_then_refused(house: House) -> None:
    """Neither Django nor plain SQL changes or removes a record."""
    refuse_all(attempts(add_record(house)))


@pytest.mark.threat("web-process-history")
@pytest.mark.real("postgres")
def test_record_when_changed_or_removed_on_postgres_then_refused(on_postgres: str) -> None:
    """The same on PostgreSQL, where emptying the table is refused, too."""
    record = add_record(make_house())
    refuse_all([*attempts(record), lambda: connection.cursor().execute("TRUNCATE history_record CASCADE")])
