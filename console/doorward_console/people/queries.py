"""Who belongs to what: the looks into people's tables that pages and API share."""

from doorward_console.people.models import ApiToken, Member, Project, User


def memberships_of(user: User) -> list[Member]:
    """List a person's memberships with their projects, by the projects' names."""
    return list(Member.objects.filter(user=user).select_related("project").order_by("project__name", "project_id"))


def membership(user: User, project_id: str) -> Member | None:
    """Find a person's membership of one project; None when there is none, whether or not the project exists."""
    if not user.is_active:
        return None
    mine = Member.objects.filter(user=user, project_id=project_id).select_related("project", "user")
    found: Member | None = mine.first()
    return found


def members_of(project: Project) -> list[Member]:
    """List a project's members, owners first."""
    found = Member.objects.filter(project=project).select_related("user")
    rank = {"owner": 0, "admin": 1, "engineer": 2, "viewer": 3}
    return sorted(found, key=lambda member: (rank.get(member.role, 4), str(member.user).lower()))


def live_tokens_of(user: User) -> list[ApiToken]:
    """List a person's tokens that have not been ended, newest first."""
    return list(ApiToken.objects.filter(user=user, ended_at__isnull=True).order_by("-made_at"))
