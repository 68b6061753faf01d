"""Who may ask for what: users, projects, memberships, API tokens."""

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.utils import timezone

from doorward_console.identifiers import new_project_id


class UserManager(BaseUserManager["User"]):
    """Makes users by mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: object) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: object) -> "User":
        return self.create_user(email, password, is_superuser=True, **extra)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, by mail address. What they may do is decided by their memberships alone."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)
    has_first_password = models.BooleanField(default=False)  # somebody else knows it; it opens nothing but its change
    made_in = models.ForeignKey("Project", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    def __str__(self) -> str:
        return self.name or self.email


class Project(models.Model):
    """The unit of ownership: people, devices, keys, history."""

    class LicencePolicy(models.TextChoices):
        NONE = "none"
        REQUIRED = "required"

    id = models.CharField(primary_key=True, max_length=18, default=new_project_id, editable=False)
    name = models.CharField(max_length=100)
    epoch = models.PositiveIntegerField(default=0)
    default_duration_s = models.PositiveIntegerField(default=7200)
    needs_reason = models.BooleanField(default=False)
    login_user = models.CharField(max_length=32, default="remote-admin")
    licence_policy = models.CharField(max_length=10, choices=LicencePolicy.choices, default=LicencePolicy.NONE)
    least_agent = models.CharField(max_length=40, blank=True)  # counts where licences are required
    created_at = models.DateTimeField(default=timezone.now)

    members: "models.ManyToManyField[User, Member]" = models.ManyToManyField(
        User, through="Member", related_name="projects"
    )

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    ENGINEER = "engineer"
    VIEWER = "viewer"


class Member(models.Model):
    """One person's role in one project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "user"), name="one_role_per_project"),)

    def __str__(self) -> str:
        return f"{self.user}: {self.role}"


class ApiToken(models.Model):
    """A token with which a program asks in a person's name; only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    made_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name
