"""The shapes of the API's bodies and answers, as OpenAPI shows them. Times are ISO 8601 in UTC."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema


class ErrorOut(Schema):
    """What went wrong: a stable code, what happened, what to do."""

    code: str
    message: str
    next: str


class ReasonOut(Schema):
    """A reason code, explained: whose move it is, what happened, what to do."""

    code: str
    move: str
    meaning: str
    next: str


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


class StepOut(Schema):
    """One step of an opening; ``code`` is set when it did not succeed."""

    step: str
    at: datetime
    code: str | None


class LinesOut(Schema):
    """What an engineer types."""

    host: str
    port: int
    user: str
    ssh: str
    ssh_weaker: str
    known_hosts: str | None


class ClaimOut(Schema):
    """What the device or the relay says of a door."""

    who: Literal["device", "relay"]
    says: str


class DoorOut(Schema):
    """What a door is. ``open`` means: its own banner has come back through the relay. ``lines`` are there only while it is open, for those who may log in."""

    device: str
    state: Literal["shut", "opening", "open", "closing", "failed"]
    session: str | None
    asked_by: str | None
    reason: str | None
    requested_at: datetime | None
    opened_at: datetime | None
    ends_at: datetime | None
    closed_at: datetime | None
    why: ReasonOut | None = Field(description="Why it failed, or what it waits for.")
    notice: ReasonOut | None = Field(description="Why the last thing asked of an open door was refused.")
    disagreement: list[ClaimOut] = Field(description="Who says something else of this door than the console does.")
    steps: list[StepOut]
    lines: LinesOut | None


class DoorIn(Schema):
    """What is asked of a door."""

    state: Literal["open", "shut"]
    duration_s: int | None = Field(None, description="The project's default when left out; for open alone.")
    reason: str = ""


class ExtendIn(Schema):
    """How long it shall stay open, counted from now."""

    duration_s: int | None = None


class DoorWait(Schema):
    """How long to wait for another state than ``state`` (the one at the time of asking when it is empty)."""

    wait: int = Field(0, ge=0, le=60)
    state: str = ""


class DevicesWanted(Schema):
    """Which devices; empty texts want all."""

    q: str = Field("", description="part of a name, an id or a host name")
    state: str = Field("", description="shut, opening, open, closing, failed or blocked")
    presence: str = Field("", description="connected or away")
    relay: str = Field("", description="a relay's id")


class HistoryWanted(Schema):
    """Which lines, and which page of them."""

    person: str = ""
    device: str = Field("", description="a device's id")
    action: str = Field("", description="empty: what people did; maintenance; all; or one verb")
    since: datetime | None = None
    until: datetime | None = None
    page: int = Field(1, ge=1, le=1_000_000)


class DeviceOut(Schema):
    """A device as the console knows it."""

    id: str
    project: str
    name: str
    state: Literal["added", "joined", "blocked"]
    presence: str
    presence_at: datetime | None
    seen_at: datetime | None
    agent_version: str
    facts: dict[str, object]
    clock_skew_ms: int | None
    relay: str | None
    port: int | None
    bind: str
    door: str


class DeviceIn(Schema):
    """A new device's name."""

    name: str


class ReasonIn(Schema):
    """Why, if there is something to say."""

    reason: str = ""


class WayIn(Schema):
    """Through which relay and port a device is reached; ``bind`` is ``*`` (public) or ``localhost``."""

    relay: str | None
    port: int | None
    bind: str = "*"


class JoinOut(Schema):
    """The line with which the device joins, given this one time."""

    join: str
    expires_at: datetime | None


class LicenceIn(Schema):
    """A licence file's whole text, as its issuer gave it."""

    licence: str


class LicenceOut(Schema):
    """The licence that lasts longest, and what the project's policy still misses for this device."""

    valid_until: datetime | None
    least_agent: str
    missing: ReasonOut | None


class SettingsIn(Schema):
    """The whole settings document."""

    values: dict[str, Any]


class SettingsOut(Schema):
    """The settings that are wanted and those that the device reports; ``is_applied`` compares the documents' digests."""

    wanted: dict[str, Any]
    reported: dict[str, Any]
    is_applied: bool


class RelayOut(Schema):
    """A relay as the console knows it; ``why`` says why it cannot be reached."""

    id: str
    project: str
    name: str
    kind: str
    host: str
    ssh_port: int
    tunnel_user: str
    control_port: int
    low_port: int
    high_port: int
    ssh_host_keys: list[str]
    version: str
    paired_at: datetime | None
    seen_at: datetime | None
    clock_skew_ms: int | None
    why: ReasonOut | None


class PairIn(Schema):
    """The line that ``doorward-relay install`` printed, and a name."""

    line: str
    name: str


class PlainRelayIn(Schema):
    """A relay that is any sshd: where it is, whose ``authorized_keys`` has our line, and its host keys as files show them."""

    name: str
    host: str
    ssh_port: int = 22
    user: str
    ssh_host_keys: list[str]


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


class LineOut(Schema):
    """One line of the history. ``record`` is null while it waits for its signature."""

    verb: str
    sentence: str
    at: datetime
    author: str
    by: str | None
    device: str | None
    device_name: str | None
    session: str | None
    ending: str | None
    data: dict[str, object]
    record: str | None


class HistoryOut(Schema):
    """One page of the history, newest first."""

    lines: list[LineOut]
    page: int
    has_older: bool
