"""The Action History's looks into the database: filters as in the address bar, newest first, and nothing decided.

Facts that wait for their signature (``Pending``) are shown with the signed ones: a person who turned something on sees it
at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet
from doorward_protocol.audit import VERBS

from doorward_console.fleet.models import Device
from doorward_console.history.models import Chain, Pending, Record
from doorward_console.maintenance.models import Command, Intent, Session
from doorward_console.people.models import Project

PAGE: Final = 50
"""Lines on a page: two screens."""

TOGGLES: Final = ("session.on", "session.off", "session.extended")
COMMANDS: Final = ("command.asked", "command.cancelled", "commands.asked", "commands.stopped")
DEEDS: Final = tuple(
    verb.name
    for verb in VERBS.values()
    if verb.by == "console" and verb.name.partition(".")[0] in {"project", "member", "keys", "token", "device", "relay", "settings"}
) + TOGGLES + COMMANDS  # fmt: skip
"""What people did; the rest is what came of it."""

_TOLD_BY_ITS_ASKING: Final = Q(verb__in=("command.ordered", "command.begun", "command.done", "command.ended"))
"""What the line that asked for a command says, too, with how it ended."""
GROUPS: Final = {"": DEEDS, "maintenance": TOGGLES, "commands": COMMANDS, "all": None}
_OF_SEVERAL: Final = Q(verb__in=("command.asked", "command.cancelled"), data__has_key="batch")
"""One device's part of what was asked of several, or stopped: among all devices' deeds one line says it for all of them."""


def sharing_user(sessions: Iterable[Session]) -> frozenset[str]:
    """Name those of ``sessions`` of which the device said that whoever logs in is the agent's own user there."""
    devices = {one.pk: one.device_id for one in sessions}
    said = Record.objects.filter(session__in=list(devices), verb="door.opened", data__shares_user=True)
    found = said.values_list("session", "device") if devices else ()
    return frozenset(session for session, device in found if session and devices[session] == device)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are wanted. ``action`` is "" (what people did), "maintenance", "commands", "all", or one verb.

    Attributes:
        is_short: each command of a device is a single line.
    """

    person: str = ""
    device: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None
    is_short: bool = False

    @property
    def is_set(self) -> bool:
        return any((self.person, self.device, self.action, self.since, self.until))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the history with what is known about it; ``record`` is None while it waits for its signature."""

    verb: str
    at: datetime
    author: str
    data: dict[str, Any]
    device_id: str | None
    device_name: str | None
    is_device_there: bool
    session: Session | None
    session_id: str | None
    refused: str
    record: Record | None
    command: Command | None = None


def lines(project: Project, wanted: Filter, page: int = 1) -> tuple[list[Line], bool]:
    """Give one page of lines, newest first, and whether there are older ones."""
    pending: list[Pending] = list(_matching(Pending.objects.filter(project=project), wanted, "at").order_by("-pk"))
    start = (page - 1) * PAGE - (len(pending) if page > 1 else 0)
    waiting = pending if page == 1 else []
    room = max(PAGE - len(waiting), 0)
    records = _matching(Record.objects.filter(project=project), wanted, "received_at").order_by("-received_at", "-pk")
    found = list(records.defer("envelope")[max(start, 0) : max(start, 0) + room + 1])
    return _with_names(project, [*waiting, *found[:room]]), len(found) > room


def _matching(rows: "QuerySet[Any]", wanted: Filter, time: str) -> "QuerySet[Any]":
    verbs = GROUPS.get(wanted.action, (wanted.action,))
    if verbs is not None:
        rows = rows.filter(verb__in=verbs)
    if not wanted.device and wanted.action in ("", "commands"):
        rows = rows.exclude(_OF_SEVERAL)
    if wanted.is_short:
        rows = rows.exclude(_TOLD_BY_ITS_ASKING)
    if wanted.person:
        rows = rows.filter(data__by__icontains=wanted.person)
    if wanted.device:
        rows = rows.filter(device=wanted.device)
    if wanted.since:
        rows = rows.filter(**{f"{time}__gte": wanted.since})
    if wanted.until:
        rows = rows.filter(**{f"{time}__lt": wanted.until})
    return rows


def _with_names(project: Project, rows: list[Record | Pending]) -> list[Line]:
    names = dict(Device.objects.filter(project=project).values_list("pk", "name"))
    there = set(Device.objects.filter(project=project, removed_at__isnull=True).values_list("pk", flat=True))
    ids = {row.session for row in rows if row.session}
    sessions = Session.objects.filter(project=project).in_bulk(list(ids))
    refused = dict(
        Intent.objects.filter(project=project, state=Intent.State.REFUSED, values__session__in=list(ids)).values_list(
            "values__session", "code"
        )
    ) if ids else {}  # fmt: skip
    asked = [str(row.data.get("command")) for row in rows if row.verb == "command.asked"]
    commands = Command.objects.filter(project=project).in_bulk(asked) if asked else {}
    found = [_line(row, names, there, sessions, refused) for row in rows]
    return [
        replace(line, command=commands.get(str(line.data.get("command")))) if line.verb == "command.asked" else line
        for line in found
    ]


def _line(
    row: Record | Pending, names: dict[str, str], there: set[str], sessions: dict[str, Session], refused: dict[str, str]
) -> Line:
    record = row if isinstance(row, Record) else None
    return Line(
        verb=row.verb,
        at=(record.at or record.received_at) if record else row.at,  # type: ignore[arg-type]  # Pending.at is never null
        author=record.author if record else f"console:{row.project_id}",
        data=row.data,
        device_id=row.device,
        device_name=names.get(row.device or ""),
        is_device_there=row.device in there,
        session=sessions.get(row.session or ""),
        session_id=row.session,
        refused=refused.get(row.session or "", ""),
        record=record,
    )


@dataclass(frozen=True, slots=True)
class Seal:
    """How the project's chains stand: since when they hold, how long they are, and what is wrong with one."""

    since: datetime | None
    records: int
    authors: int
    waiting: int
    broken: tuple[Chain, ...]


def seal_of(project: Project) -> Seal:
    """Sum up the project's chains."""
    chains = list(Chain.objects.filter(project=project))
    return Seal(
        since=min((chain.since for chain in chains), default=None),
        records=sum(chain.n for chain in chains),
        authors=len(chains),
        waiting=Pending.objects.filter(project=project).count(),
        broken=tuple(chain for chain in chains if chain.broken),
    )


def devices_named(project: Project) -> list[Device]:
    """List the project's devices for the filter."""
    return list(Device.objects.filter(project=project).only("pk", "name").order_by("name"))
