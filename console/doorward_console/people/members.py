"""Changing who belongs to a project. Each change is written into the history in its own transaction.

The rule that a project never loses its last owner is ``owners_left``, a function of roles alone.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import transaction

from doorward_console.declined import Declined
from doorward_console.history.writing import note
from doorward_console.people.models import Member, Project, Role, User

_FIRST_PASSWORD_BYTES = 15
"""120 random bits, twenty characters: typed once and then replaced by the person's own."""


@dataclass(frozen=True, slots=True)
class Who:
    """The person who changes something, and from where."""

    user: User
    from_address: str

    def named(self) -> dict[str, str]:
        """Give what a record of the history says about the person."""
        return {"by": self.user.email, "from": self.from_address}


@dataclass(frozen=True, slots=True)
class Added:
    """A new member; ``first_password`` is set when the account was made for it, and is shown once."""

    member: Member
    first_password: str | None = field(repr=False)


def owners_left(roles: Mapping[int, str]) -> int:
    """Count the owners among roles by member."""
    return sum(role == Role.OWNER for role in roles.values())


def add_member(project: Project, email: str, role: str, who: Who) -> Added:
    """Give somebody a role in the project, with an account where they have none; raises Declined."""
    _check_role(role)
    if Member.objects.filter(project=project, user__email=email.strip().lower()).exists():
        raise Declined("member.exists", f"{email} is a member already.", "Change the role in the list instead.")
    with transaction.atomic():
        user, first_password = _user_for(email.strip().lower(), project)
        member = Member.objects.create(project=project, user=user, role=role)
        note(project, "member.added", data={**who.named(), "member": user.email, "role": role})
    return Added(member, first_password)


def change_role(project: Project, member_id: int, role: str, who: Who) -> Member:
    """Change a member's role; raises Declined, and Member.DoesNotExist for another project's."""
    _check_role(role)
    with transaction.atomic():
        member = _locked(project, member_id, after={member_id: role})
        member.role = role
        member.save(update_fields=["role"])
        note(project, "member.changed", data={**who.named(), "member": member.user.email, "role": role})
    return member


def remove_member(project: Project, member_id: int, who: Who) -> None:
    """End a membership; raises Declined, and Member.DoesNotExist for another project's."""
    with transaction.atomic():
        member = _locked(project, member_id, after={member_id: ""})
        note(project, "member.removed", data={**who.named(), "member": member.user.email, "role": member.role})
        member.delete()


def _locked(project: Project, member_id: int, after: Mapping[int, str]) -> Member:
    """Lock the project's memberships and give one of them, if an owner would be left after the change."""
    members = {one.pk: one for one in Member.objects.select_for_update(no_key=True).filter(project=project)}
    if member_id not in members:
        raise Member.DoesNotExist
    if owners_left({pk: one.role for pk, one in members.items()} | dict(after)) == 0:
        raise Declined("member.last-owner", "A project has at least one owner.", "Make somebody else an owner first.")
    found: Member = members[member_id]
    return found


def _user_for(email: str, project: Project) -> tuple[User, str | None]:
    """Find the account, or make it in the project's name; raises Declined for one that another project handed out.

    Whoever was shown a first password could otherwise wait until another project trusts the address with more.
    """
    found = User.objects.select_for_update(no_key=True).filter(email=email).first()
    if found is not None and not found.has_first_password:
        return found, None
    password = secrets.token_urlsafe(_FIRST_PASSWORD_BYTES)
    if found is None:
        return User.objects.create_user(email, password, has_first_password=True, made_in=project), password
    if found.made_in_id != project.pk:
        raise Declined(
            "member.first-password",
            f"{email} has not signed in yet and set a password of their own.",
            "Ask them to, then add them again.",
        )
    found.set_password(password)
    found.save(update_fields=["password"])
    return found, password


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise Declined("member.role", f"{role!r} is no role.", f"Choose one of: {', '.join(Role.values)}.")
