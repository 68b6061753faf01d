"""Records are append-only in the database itself."""

from django.db import migrations

from doorward_console.history.triggers import add_statements, drop_statements


def add(apps, schema_editor):
    for statement in add_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def drop(apps, schema_editor):
    for statement in drop_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("history", "0002_initial")]
    operations = [migrations.RunPython(add, drop)]
