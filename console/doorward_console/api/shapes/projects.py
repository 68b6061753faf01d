"""A project, its members, and its engineers' key pair."""

from datetime import datetime
from typing import Literal

from ninja import Field, Schema


class ProjectOut(Schema):
    """A project and the caller's role in it."""

    id: str
    name: str
    role: str
    default_duration_s: int
    needs_reason: bool
    login_user: str
    licence_policy: Literal["none", "required"]
    least_agent: str


class ProjectIn(Schema):
    """A project's rules; what is left out stays."""

    name: str | None = None
    default_duration_s: int | None = None
    needs_reason: bool | None = None
    login_user: str | None = None
    licence_policy: Literal["none", "required"] | None = None
    least_agent: str | None = Field(None, description="Counts where licences are required; empty for any.")


class MemberOut(Schema):
    """A member."""

    id: int
    email: str
    name: str
    role: str
    since: datetime


class MemberIn(Schema):
    """A person by mail address, and a role: owner, admin, engineer or viewer."""

    email: str
    role: str


class NewMemberOut(MemberOut):
    """A new member; the first password is there when an account was made for it, this one time."""

    first_password: str | None


class RoleIn(Schema):
    """A role."""

    role: str


class KeysOut(Schema):
    """The pair in use: its public part."""

    public_key: str | None
    made_at: datetime | None
    made_by: str | None


class KeysIn(Schema):
    """The ports that a plain relay may give, such as ``22001-22010, 22050``; those of the devices when left out."""

    ports: str = ""


class FileOut(Schema):
    """A file: its name, and what stands in it."""

    name: str
    content: str


class NewKeysOut(Schema):
    """Both files of a new pair. The private one is in this answer and nowhere else."""

    device_key: FileOut
    relay_server_key: FileOut
