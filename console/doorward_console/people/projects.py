"""A project's own rules: its name, the default duration, whether a reason is needed, the login name."""

import re
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.history.writing import note
from doorward_console.people.members import Who
from doorward_console.people.models import Project

SHORTEST_S: Final = 60
LONGEST_S: Final = 31 * 86_400
_LOGIN: Final = re.compile(r"^[a-z_][a-z0-9_-]{0,31}$")
"""What useradd(8) accepts."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an owner may set."""

    name: str
    default_duration_s: int
    needs_reason: bool
    login_user: str


def rules_of(project: Project) -> Rules:
    """Give the project's rules as they are."""
    return Rules(project.name, project.default_duration_s, project.needs_reason, project.login_user)


def set_rules(project: Project, rules: Rules, who: Who) -> None:
    """Change the project's rules; raises Declined for what cannot be one."""
    _check(rules)
    with transaction.atomic():
        project.name = rules.name
        project.default_duration_s = rules.default_duration_s
        project.needs_reason = rules.needs_reason
        project.login_user = rules.login_user
        project.save(update_fields=["name", "default_duration_s", "needs_reason", "login_user"])
        said = {
            "name": rules.name,
            "duration_s": rules.default_duration_s,
            "needs_reason": rules.needs_reason,
            "login_user": rules.login_user,
        }
        note(project, "project.changed", data={**who.named(), **said})
        ring("web")


def _check(rules: Rules) -> None:
    if not 0 < len(rules.name.strip()) <= 100:
        raise Declined("project.name", "A project has a name of 1 to 100 characters.", "Enter one.")
    if not SHORTEST_S <= rules.default_duration_s <= LONGEST_S:
        raise Declined("project.duration", "A session lasts from one minute to 31 days.", "Choose a duration between.")
    if _LOGIN.fullmatch(rules.login_user) is None:
        raise Declined(
            "project.login-user",
            f"{rules.login_user[:40]!r} is no Linux user name.",
            "Use small letters, digits, - and _, at most 32.",
        )
