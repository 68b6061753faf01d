"""Devices, their licences and settings."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from doorward_console.api.shapes.reasons import ReasonOut


class DevicesWanted(Schema):
    """Which devices; empty texts want all."""

    q: str = Field("", description="part of a name, an id or a host name")
    state: str = Field("", description="shut, opening, open, closing, failed or blocked")
    presence: str = Field("", description="connected or away")
    relay: str = Field("", description="a relay's id")


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
    verbs: list[str] | None = Field(
        description="The commands that it can do, by its own word; null where its agent knows no commands."
    )
    knows_hooks: bool = Field(
        description="Whether ``verbs`` is all. False while its agent has just started and was never told which hooks there are: what is asked until then waits."
    )
    shares_user: bool = Field(
        description="As the device said of its door that is open now: a log-in shares the agent's user."
    )
    has_twin: bool = Field(description="Whether two machines were seen to speak as this device within the last hour.")


class DeviceIn(Schema):
    """A new device's name."""

    name: str


class ReasonIn(Schema):
    """Why, if there is something to say."""

    reason: str = ""


class RemovalWanted(Schema):
    """The device's name, typed: removing cannot be taken back. In the address, for not every proxy passes a body on with DELETE."""

    confirm: str = ""


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
    based_on: str | None = Field(
        None, description="The ``mark`` of what you saw; where something else is wanted by now, yours is refused."
    )


class SettingsReadOut(Schema):
    """How the device said that it is set, and what its maker lets be set, as JSON Schema, if it said that."""

    at: datetime
    values: dict[str, Any]
    may_set: dict[str, Any] | None


class SettingsOut(Schema):
    """The settings that are wanted and those that the device reports.

    ``is_applied``: the device holds the document that is wanted, and has kept it after its trial or has no hook to try it with.
    ``read`` is what the device's own hook says; null before it was asked for the first time.
    """

    wanted: dict[str, Any]
    reported: dict[str, Any]
    is_applied: bool
    read: SettingsReadOut | None
    mark: str
