"""Writing down what happened in the console: one call, one line, in the transaction of the deed itself.

The line becomes a signed record when the worker has chained it. Nothing here can change or remove a line.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.utils import timezone
from doorward_protocol.audit import VERBS

from doorward_console.edges.doorbell import ring
from doorward_console.history.models import Pending
from doorward_console.people.models import Project

_AT_ONCE: Final = 500
"""Lines in one statement: ten thousand devices' would be more values than a database takes in one."""


def note(
    project: Project,
    verb: str,
    *,
    session: str | None = None,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
    wakes: bool = True,
) -> Pending:
    """Write down that ``verb`` happened, with the ids it concerns, and wake the worker; not where somebody will who is woken now.

    Raises:
        ValueError: ``verb`` is none of the console's.
    """
    _check(verb)
    written: Pending = Pending.objects.create(
        project=project, verb=verb, session=session, device=device, data=dict(data or {}), at=timezone.now()
    )
    if wakes:
        ring("worker")
    return written


def note_each(verb: str, lines: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Write down that ``verb`` happened on several devices, in few statements: project, device and data of each.

    Raises:
        ValueError: ``verb`` is none of the console's.
    """
    _check(verb)
    now = timezone.now()
    written = [
        Pending(project_id=one, verb=verb, device=device, data=dict(data), at=now) for one, device, data in lines
    ]
    if written:
        Pending.objects.bulk_create(written, _AT_ONCE)
        ring("worker")


def _check(verb: str) -> None:
    known = VERBS.get(verb)
    if known is None or known.by != "console":
        raise ValueError(f"{verb!r} is no verb of the console's history")
