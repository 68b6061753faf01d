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


class ForwardOut(Schema):
    """A named forward of a device: what the console orders, what the device offers, and how it fares."""

    name: str
    target: str
    offered: str | None = Field(description="The target that the device's own configuration has under this name now.")
    port: int | None = Field(description="On the device's relay; null where it has been given none.")
    bind: str
    is_usual: bool = Field(description="Whether it goes with each opening for which nothing else is chosen.")
    state: Literal["shut", "opening", "open", "failed"]
    why: ReasonOut | None
    address: str | None = Field(description="What the target's name led to, as the device says.")
    at: datetime | None
    place: str | None = Field(description="Relay and port where it is open, for those who may log in.")


class ForwardIn(Schema):
    """How a forward shall be reached; ``bind`` is ``*`` (whoever reaches the relay reaches the target) or ``localhost``."""

    port: int = Field(ge=1, le=65_535)
    bind: str = "localhost"
    is_usual: bool = True


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
    forwards: list[ForwardOut]


class DoorIn(Schema):
    """What is asked of a door."""

    state: Literal["open", "shut"]
    duration_s: int | None = Field(None, description="The project's default when left out; for open alone.")
    reason: str = ""
    forwards: list[str] | None = Field(
        None,
        description="Names of the forwards that go with it; the device's usual ones when left out. For open alone.",
    )


class ExtendIn(Schema):
    """How long it shall stay open, counted from now."""

    duration_s: int | None = None


class DoorWait(Schema):
    """How long to wait for another state than ``state`` (the one at the time of asking when it is empty)."""

    wait: int = Field(0, ge=0, le=60)
    state: str = ""
