"""A person's role in a project, as it is in the database now."""

from doorward_console.people.models import Member, Project, User
from doorward_console.people.rights import Right, may


def role_of(user: User, project: Project) -> str | None:
    """Name the person's role, or None when they are no member or their account is off."""
    if not user.is_active:
        return None
    role: str | None = Member.objects.filter(project=project, user=user).values_list("role", flat=True).first()
    return role


def is_entitled(user: User, project: Project, right: Right) -> bool:
    """Tell whether the person has ``right`` in the project now."""
    return may(role_of(user, project), right)
