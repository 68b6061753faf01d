"""A door: what it is, and what is asked of it."""

from datetime import datetime
from typing import Literal

from ninja import Field, Schema

from doorward_console.api.shapes.reasons import ReasonOut


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
    shares_user: bool = Field(
        description="Whoever logs in is the agent's own user there, and could forge what the agent says."
    )
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
