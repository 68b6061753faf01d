"""The action history."""

from datetime import datetime

from ninja import Field, Schema


class HistoryWanted(Schema):
    """Which lines, and which page of them."""

    person: str = ""
    device: str = Field("", description="a device's id")
    action: str = Field(
        "",
        description="empty: what people did; maintenance; commands; all; or one verb. What was asked of several devices is one line of empty and of commands, unless a device is named.",
    )
    since: datetime | None = None
    until: datetime | None = None
    page: int = Field(1, ge=1, le=1_000_000)


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
