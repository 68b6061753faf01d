"""Commands over the API: asked of one device or of many, watched, and taken back."""

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Header, Query, Router

from doorward_console.api.auth import WaitingBearer, WaitingBrowser
from doorward_console.api.caller import device_place, project_place
from doorward_console.api.doors import reason_document
from doorward_console.api.shapes.commands import (
    BatchOut,
    CommandIn,
    CommandOut,
    CommandsIn,
    CommandsWanted,
    CommandWait,
    RehearsalOut,
    Sent,
)
from doorward_console.api.waiting import when_news
from doorward_console.declined import Declined
from doorward_console.fleet.models import Device
from doorward_console.fleet.queries import Filter, rows_of
from doorward_console.maintenance.commands import asking
from doorward_console.maintenance.commands.rehearsals import told_of
from doorward_console.maintenance.commands.shown import commands_of, reason_for, results_of
from doorward_console.maintenance.models import Batch, Command
from doorward_console.pages.access import Place, ensure
from doorward_console.people.rights import COMMANDS, Right

router = Router(tags=["commands"])


@router.get("/devices/{device_id}/commands", response=list[CommandOut])
def list_commands(request: HttpRequest, device_id: str, wanted: Query[CommandsWanted]) -> list[dict[str, Any]]:
    """List the device's commands, newest first."""
    _, device = device_place(request, device_id)
    return [_document(one) for one in commands_of(device, wanted.page)]


@router.post("/devices/{device_id}/commands", response={202: CommandOut})
def ask_command(request: HttpRequest, device_id: str, asked: CommandIn, sent: Header[Sent]) -> dict[str, Any]:
    """Ask the device for something. It is told once it is there, one command after the other, and does it at most once.

    A request whose answer was lost can be sent again: with the same `Idempotency-Key` the answer is the command that there is.
    """
    place, device = device_place(request, device_id, COMMANDS.get(asked.verb, Right.VIEW))
    return _document(asking.ask_command(device, _wish(asked, sent), place.who))


@router.get("/devices/{device_id}/rehearsal", response=RehearsalOut)
def see_rehearsal(request: HttpRequest, device_id: str) -> dict[str, Any]:
    """Say how the device's last rehearsal went. A new one is asked for as the command ``rehearse``."""
    told = told_of(device_place(request, device_id)[1])
    if told is None:
        raise Http404("This device has not rehearsed yet.")
    return {
        "at": told.at,
        "opens": told.reason is None,
        "opens_in_ms": told.opens_in_ms,
        "step": told.step or None,
        "why": reason_document(told.reason),
    }


@router.get("/devices/{device_id}/commands/{command_id}", response=CommandOut, auth=[WaitingBearer(), WaitingBrowser()])
async def see_command(
    request: HttpRequest, device_id: str, command_id: str, asked: Query[CommandWait]
) -> dict[str, Any]:
    """Give one command. With ``wait`` the answer comes when its state has changed, or after so many seconds."""

    def is_news(first: dict[str, Any], now: dict[str, Any]) -> bool:
        return bool(now["state"] != (asked.state or first["state"]))

    return await when_news(lambda: _document(_command(request, device_id, command_id)[1]), is_news, asked.wait)


@router.post("/devices/{device_id}/commands/{command_id}/cancel", response=CommandOut)
def cancel_command(request: HttpRequest, device_id: str, command_id: str) -> dict[str, Any]:
    """Take a command back. One that was told already may have begun all the same: then it says so."""
    place, command = _command(request, device_id, command_id)
    ensure(place.member, COMMANDS[command.verb])
    return _document(asking.cancel(command, place.who))


@router.get("/projects/{project_id}/commands", response=list[BatchOut])
def list_batches(request: HttpRequest, project_id: str) -> list[dict[str, Any]]:
    """List the last 50 commands that were asked of several devices, newest first; without their devices."""
    place = project_place(request, project_id)
    return [_batch(one) | {"results": []} for one in Batch.objects.filter(project=place.project).order_by("-at")[:50]]


@router.post("/projects/{project_id}/commands", response={202: BatchOut})
def ask_commands(
    request: HttpRequest,
    project_id: str,
    asked: CommandsIn,
    sent: Header[Sent],
) -> dict[str, Any]:
    """Ask several devices for the same: each is decided, told and answered by itself.

    A request whose answer was lost can be sent again: with the same `Idempotency-Key` the answer is the batch that there is.
    """
    place = project_place(request, project_id, COMMANDS.get(asked.verb, Right.VIEW))
    devices, are_named = _chosen(place, asked), asked.filter is None
    return _batch(asking.ask_commands(place.project, devices, _wish(asked, sent), place.who, are_named=are_named))


@router.get("/projects/{project_id}/commands/{batch_id}", response=BatchOut)
def see_batch(request: HttpRequest, project_id: str, batch_id: str) -> dict[str, Any]:
    """Give one command on several devices, with how far it is and each device's result."""
    return _batch(_found(project_place(request, project_id), batch_id))


@router.post("/projects/{project_id}/commands/{batch_id}/stop", response=BatchOut)
def stop_batch(request: HttpRequest, project_id: str, batch_id: str) -> dict[str, Any]:
    """Cancel what of it has not begun."""
    place = project_place(request, project_id)
    batch = _found(place, batch_id)
    ensure(place.member, COMMANDS[batch.verb])
    asking.stop(batch, place.who)
    return _batch(batch)


def _wish(asked: CommandIn, sent: Sent) -> asking.Wish:
    key = sent.idempotency_key
    return asking.Wish(asked.verb, asked.arguments, asked.reason, asked.expires_s, asked.confirm, mark=key)


def _command(request: HttpRequest, device_id: str, command_id: str) -> tuple[Place, Command]:
    place, device = device_place(request, device_id)
    found = Command.objects.filter(pk=command_id, device=device).select_related("project").first()
    if found is None:
        raise Http404("There is no such command of this device.")
    return place, found


def _found(place: Place, batch_id: str) -> Batch:
    found: Batch | None = Batch.objects.filter(pk=batch_id, project=place.project).first()
    if found is None:
        raise Http404("There is no such command in this project.")
    return found


def _chosen(place: Place, asked: CommandsIn) -> list[Device]:
    """Find the devices: all that are named have to be there, and something has to be chosen."""
    if (asked.devices is None) == (asked.filter is None):
        raise Declined(
            "commands.selection",
            "It is not said which devices are meant, or it is said twice.",
            "Send either devices or filter.",
        )
    if asked.filter is not None:
        wanted = asked.filter
        rows = rows_of(place.project, Filter(wanted.q, wanted.state, wanted.presence, wanted.relay))
        found = [row.device for row in rows]
    else:
        found = asking.devices_named(place.project, asked.devices or ())
        if len(found) < len(set(asked.devices or ())):
            raise Http404("One of these devices is not in this project.")
    if not found:
        raise Declined("commands.nobody", "No device was chosen.", "Choose at least one.")
    return found


def _document(command: Command) -> dict[str, Any]:
    return {
        "id": command.pk,
        "device": command.device_id,
        "batch": command.batch_id,
        "verb": command.verb,
        "arguments": command.arguments,
        "reason": command.reason,
        "by": command.by_name,
        "at": command.at,
        "expires_at": command.expires_at,
        "state": command.state,
        "ordered_at": command.ordered_at,
        "begun_at": command.begun_at,
        "ended_at": command.ended_at,
        "ended_by": command.ended_by_name or None,
        "why": reason_document(reason_for(command)),
        "status": command.status,
        "said": command.said,
        "result": command.result,
        "lasted_ms": command.lasted_ms,
    }


def _batch(batch: Batch) -> dict[str, Any]:
    results = results_of(batch)
    return {
        "id": batch.pk,
        "verb": batch.verb,
        "arguments": batch.arguments,
        "reason": batch.reason,
        "by": batch.by_name,
        "at": batch.at,
        "expires_at": batch.expires_at,
        "stopped_at": batch.stopped_at,
        "stopped_by": batch.stopped_by_name or None,
        "total": results.total,
        "counts": results.counts,
        "results": [
            {
                "device": one.device_id,
                "name": one.device.name,
                "command": one.pk,
                "state": one.state,
                "code": one.code or None,
                "status": one.status,
                "ended_at": one.ended_at,
                "lasted_ms": one.lasted_ms,
            }
            for one in results.commands
        ],
    }
