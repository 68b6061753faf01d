"""Relays of every kind."""

from datetime import datetime

from ninja import Schema

from doorward_console.api.shapes.reasons import ReasonOut


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
