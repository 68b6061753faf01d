"""In which order commands are held: one everywhere, so that nobody who holds many waits for another in a circle."""

from django.db.models import QuerySet

from doorward_console.maintenance.models import Command


def hold(commands: "QuerySet[Command]") -> "QuerySet[Command]":
    """Hold commands until the transaction ends: whoever changes one at this moment comes before or after, never in between."""
    rows: QuerySet[Command] = commands.select_for_update(no_key=True, of=("self",)).order_by("at", "pk")
    return rows
