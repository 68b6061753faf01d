"""Commands: what is asked of devices once, and what came of it."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from doorward_console.api.shapes.devices import DevicesWanted
from doorward_console.api.shapes.reasons import ReasonOut
from doorward_console.maintenance.commands.asking import LONGEST_EXPIRY_S, USUAL_EXPIRY_S
from doorward_console.people.rights import COMMANDS

State = Literal["asked", "queued", "ordered", "begun", "done", "failed", "cancelled", "expired", "refused"]


class CommandIn(Schema):
    """What is asked for. ``message`` takes ``{"text": "…"}``; the device's hook judges the arguments."""

    verb: str = Field(description=f"One of {', '.join(COMMANDS)}; a device's own are in its ``verbs``.")
    arguments: dict[str, Any] = Field({}, description="At most 4 KiB.")
    reason: str = ""
    expires_s: int = Field(
        USUAL_EXPIRY_S, ge=60, le=LONGEST_EXPIRY_S, description="How long it waits for a device that is away."
    )
    confirm: str = Field(
        "", description="The device's name, for shutdown and factory-reset; in bulk the project's name."
    )


class CommandsIn(CommandIn):
    """The same for several devices: those named, or those that a filter of the device list finds."""

    devices: list[str] | None = Field(None, max_length=10_000)
    filter: DevicesWanted | None = None


class Sent(Schema):
    """A header with which a request can be sent again: with the same key, the same is asked once."""

    idempotency_key: str = Field("", alias="Idempotency-Key", max_length=64)


class CommandOut(Schema):
    """One command. Ended are ``done``, ``failed``, ``cancelled``, ``expired`` and ``refused``; a device's later word overrides what the console had counted as expired or cancelled."""

    id: str
    device: str
    batch: str | None
    verb: str
    arguments: dict[str, Any]
    reason: str
    by: str
    at: datetime
    expires_at: datetime
    state: State
    ordered_at: datetime | None
    begun_at: datetime | None
    ended_at: datetime | None
    ended_by: str | None = Field(description="Whoever cancelled it.")
    why: ReasonOut | None = Field(description="Why it did not go well.")
    status: int | None = Field(description="The hook's exit status.")
    said: str = Field(description="What the hook said to people, the last of it.")
    result: dict[str, Any] | None = Field(description="What the hook answered.")
    lasted_ms: int | None


class RehearsalOut(Schema):
    """How a device's last rehearsal went; its steps are the ``result`` of that command."""

    at: datetime
    opens: bool
    opens_in_ms: int | None
    step: str | None = Field(description="What failed, in words.")
    why: ReasonOut | None


class CommandWait(Schema):
    """How long to wait for another state than ``state`` (the one at the time of asking when it is empty)."""

    wait: int = Field(0, ge=0, le=60)
    state: str = ""


class CommandsWanted(Schema):
    """Which page of a device's commands, newest first, 50 on each."""

    page: int = Field(1, ge=1, le=100_000)


class BatchResultOut(Schema):
    """How one device of several fares; the whole is at ``/devices/{device}/commands/{command}``."""

    device: str
    name: str
    command: str
    state: State
    code: str | None
    status: int | None
    ended_at: datetime | None
    lasted_ms: int | None


class BatchOut(Schema):
    """One command on several devices: how many are in each state, and each device's own."""

    id: str
    verb: str
    arguments: dict[str, Any]
    reason: str
    by: str
    at: datetime
    expires_at: datetime
    stopped_at: datetime | None
    stopped_by: str | None
    total: int
    counts: dict[str, int]
    results: list[BatchResultOut]
