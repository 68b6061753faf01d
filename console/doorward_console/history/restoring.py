"""A console that was restored from a backup: a new epoch, above everything that anybody has signed for.

Devices and relays refuse what is older than what they have seen; their counters are pairs (epoch, number), so a higher epoch
makes the restored console's next order newer than all that it has forgotten. Only signed words raise it: the heads that
devices and relays name, and the revisions that they say they hold when they refuse. Whoever signs may lie, so that no
step is longer than one that every device follows (``revisions.MAX_EPOCH_STEP``). Called by ``doorward-console restored``.
"""

from typing import Final

from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from doorward_protocol.envelope import decode
from doorward_protocol.records import record_from_payload
from doorward_protocol.revisions import MAX_EPOCH_STEP

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Relay
from doorward_console.history.models import Chain, Record
from doorward_console.history.own import author_of
from doorward_console.history.writing import note, note_each
from doorward_console.maintenance.commands.cancelling import end_waiting
from doorward_console.maintenance.commands.holding import hold
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.models import Command, Desired, Order
from doorward_console.people.models import Project

RESTORED: Final = "command.console-restored"


@transaction.atomic
def open_epoch(project_id: str, by: str) -> int:
    """Open the next epoch of a project and give it; the worker writes ``console.restored`` as its first record.

    What devices should be is kept, word for word, under new revisions; orders on their way are dropped and signed again.
    Commands are not: a new revision would make a device do once more what it has done since the backup.
    What relays have of older epochs and this console does not know of is ended at the next reconcile.
    """
    project = Project.objects.select_for_update(no_key=True).get(pk=project_id)
    before: int = project.epoch
    project.epoch = highest_seen(project) + 1
    project.save(update_fields=["epoch"])
    Desired.objects.filter(device__project=project).update(epoch=project.epoch, revision=1)
    unsent = Order.objects.filter(device__project=project, state__in=(Order.State.ASKED, Order.State.SIGNED))
    unsent.update(state=Order.State.DROPPED)
    _end_commands(project, by)
    Relay.objects.filter(project=project).update(epoch=project.epoch, sequence=0)
    chain = Chain.objects.filter(author=author_of(project_id)).first()
    data = {"by": by, "epoch": project.epoch, "from_epoch": before, "after": 0 if chain is None else chain.n}
    note(project, "console.restored", data=data)
    ring("signer", "web")
    return int(project.epoch)


def _end_commands(project: Project, by: str) -> None:
    """End whatever waits or is under way; what devices have signed of it since the backup counts as soon as it is heard again."""
    every = Command.objects.filter(project=project)
    waiting = list(hold(every.filter(state__in=Command.WAITING)))
    end_waiting(Command.objects.filter(pk__in=[one.pk for one in waiting]), RESTORED, by)
    lines = ((one.project_id, one.device_id, {**said_of(one), "by": by, "code": RESTORED}) for one in waiting)
    note_each("command.cancelled", lines)
    begun = every.filter(state=Command.State.BEGUN)
    begun.update(state=Command.State.FAILED, code="command.interrupted", ended_at=timezone.now())


def highest_seen(project: Project) -> int:
    """Name the highest epoch of which this console, its devices or its relays have signed, as far as it is believed.

    One whose next could be too far ahead for somebody who is still at this console's own is not: a single device's root
    would carry the project to where no other device follows, for ever.
    """
    latest = Record.objects.filter(project=project).exclude(author=author_of(project.pk))
    numbers = latest.values("author").annotate(last=Max("n"))
    named = [_epoch_named(project.pk, latest, one["author"], one["last"]) for one in numbers]
    refusals = latest.filter(verb="order.refused").values_list("data", flat=True)
    held = [data.get("held_epoch") for data in refusals.iterator()]
    claimed = [*named, *(one for one in held if isinstance(one, int))]
    return max([project.epoch, *(one for one in claimed if one < project.epoch + MAX_EPOCH_STEP)])


def _epoch_named(project: str, records: "QuerySet[Record]", author: str, n: int) -> int:
    """Read the console's epoch from the heads that an author's latest record names."""
    row = records.filter(author=author, n=n).latest("epoch")
    record = record_from_payload(decode(bytes(row.envelope), expected="record").payload)
    head = record.heads.get(author_of(project))
    return 0 if head is None else head.epoch
