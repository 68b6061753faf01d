"""A project's own rules: its name, the default duration, whether a reason is needed, the login name."""

import re
from dataclasses import dataclass, fields
from typing import Final

from django.db import transaction

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.licences import is_version
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
    licence_policy: str = Project.LicencePolicy.NONE
    least_agent: str = ""


def rules_of(project: Project) -> Rules:
    """Give the project's rules as they are."""
    names = [one.name for one in fields(Rules)]
    return Rules(**{name: getattr(project, name) for name in names})


def set_rules(project: Project, rules: Rules, who: Who) -> None:
    """Change the project's rules; raises Declined for what cannot be one."""
    _check(rules)
    with transaction.atomic():
        for one in fields(Rules):
            setattr(project, one.name, getattr(rules, one.name))
        project.save(update_fields=[one.name for one in fields(Rules)])
        said = {
            "name": rules.name,
            "duration_s": rules.default_duration_s,
            "needs_reason": rules.needs_reason,
            "login_user": rules.login_user,
            "licence_policy": rules.licence_policy,
            "least_agent": rules.least_agent,
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
    _check_licences(rules)


def _check_licences(rules: Rules) -> None:
    if rules.licence_policy not in Project.LicencePolicy.values:
        raise Declined("project.licence-policy", "Licences are required, or there are none.", "Choose one of both.")
    if rules.least_agent and not is_version(rules.least_agent):
        raise Declined(
            "project.least-agent", f"{rules.least_agent[:40]!r} is no version.", "Enter such as 0.10.0, or nothing."
        )
