"""What every line of the history about a command names."""

from doorward_console.maintenance.models import Command


def said_of(command: Command) -> dict[str, str]:
    """Give the command, what it does, who asked for it, and with which others."""
    batch = {"batch": command.batch_id} if command.batch_id else {}
    return {"command": command.pk, "verb": command.verb, "by": command.by_name, **batch}
