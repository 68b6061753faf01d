"""What a page last saw, as one short word: when it differs, there is news and the page asks for its parts again.

A look is the digest of what the pages show of a project or a device. It reads a few aggregates and the live sessions, so
that a wake costs little however large the fleet is. Used by the event stream and by long polls.
"""

import hashlib
from typing import Any

from django.db.models import Count, Max, Q

from doorward_console.fleet.models import Device, Forward, Relay
from doorward_console.history.models import Chain, Pending, Record
from doorward_console.maintenance.models import Command, Intent, Session
from doorward_console.people.models import Project

_SESSION = ("id", "state", "code", "steps", "ends_at", "lost_at", "opened_at", "closing_at", "closed_at", "forwards")
_DEVICE = ("name", "state", "presence", "presence_at", "seen_at", "relay_id", "relay_port", "bind", "agent_version",
           "facts", "clock_skew_ms", "twin_at", "verbs", "knows_hooks", "settings_state", "settings_code",
           "settings_digest", "settings_read__read_at", "offered")  # fmt: skip
_FORWARD = ("name", "target", "port", "bind", "is_usual")
_COMMANDS = 10
"""More than the card shows."""
_UNDER_WAY = {state: Count("pk", filter=Q(state=state)) for state in Command.LIVE}
"""Of commands that have not ended; each end is a line of the history."""
_RELAY = ("name", "code", "paired_at", "removed_at", "version", "seen_at")


def project_look(project_id: str) -> str:
    """Look at everything that the lists of a project show."""
    devices = Device.objects.filter(project=project_id, removed_at__isnull=True)
    records = Record.objects.filter(project=project_id)
    return _word(
        devices.aggregate(Count("pk"), Max("seen_at"), Max("presence_at")),
        list(devices.values_list("presence", "state").annotate(Count("pk")).order_by("presence", "state")),
        list(Relay.objects.filter(project=project_id).order_by("pk").values_list(*_RELAY)),
        list(_sessions(project=project_id, state__in=Session.LIVE).order_by("pk")),
        Command.objects.filter(project=project_id, state__in=Command.LIVE).aggregate(**_UNDER_WAY),
        Intent.objects.filter(project=project_id).aggregate(Max("pk")),
        Intent.objects.filter(project=project_id, state=Intent.State.ASKED).count(),
        records.aggregate(Max("pk")),
        Pending.objects.filter(project=project_id).aggregate(Max("pk"), Count("pk")),
        list(Chain.objects.filter(project=project_id).exclude(broken="").values_list("author", "broken")),
        list(Project.objects.filter(pk=project_id).values_list("name", "needs_reason", "default_duration_s")),
    )


def device_look(project_id: str, device_id: str) -> str:
    """Look at everything that one device's page shows."""
    return _word(
        list(Device.objects.filter(project=project_id, pk=device_id).values_list(*_DEVICE)),
        list(_sessions(device=device_id).order_by("-requested_at")[:1]),
        list(Forward.objects.filter(device=device_id).order_by("pk").values_list(*_FORWARD)),
        list(Command.objects.filter(device=device_id).order_by("-at").values_list("pk", "state", "code")[:_COMMANDS]),
        list(Intent.objects.filter(device=device_id).order_by("-pk").values_list("pk", "state", "code")[:1]),
        Record.objects.filter(project=project_id, device=device_id).aggregate(Max("pk")),
        Pending.objects.filter(project=project_id, device=device_id).aggregate(Max("pk"), Count("pk")),
    )


def _sessions(**wanted: Any) -> Any:
    return Session.objects.filter(**wanted).values_list(*_SESSION)


def _word(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
