"""Which projects an operator means: one by id or name, or all."""

from django.db.models import Q

from doorward_console.people.models import Project


def projects_named(wanted: str | None) -> list[str]:
    """Give the ids of the projects called ``wanted`` (an id or a name), or of all when it is None."""
    every = Project.objects.order_by("id")
    chosen = every if wanted is None else every.filter(Q(pk=wanted) | Q(name=wanted))
    return list(chosen.values_list("pk", flat=True))
