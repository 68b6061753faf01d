"""Rehearsals as the signer makes them: a certificate for minutes and, where the relay takes grants, one without any forward.

They are made when the device is told, not when somebody asks: until then nothing of them is good. The caller holds the device's
row and, by ``locked_relays``, the relay's.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet
from doorward_protocol.asked import Asked
from doorward_protocol.commands import MAX_ARGUMENTS_BYTES, size_bytes
from doorward_protocol.grants import Grant, payload_from_grant
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.rehearsal import LASTS_S, Rehearsal, arguments_from_rehearsal
from doorward_protocol.rehearsal import VERB as REHEARSE

from doorward_console.fleet.models import Device, Forward, Relay, RelayLine
from doorward_console.history.writing import note
from doorward_console.identifiers import new_session_id
from doorward_console.keys.opening import SignerKeys
from doorward_console.keys.ssh import is_certifiable
from doorward_console.maintenance.commands.lines import said_of
from doorward_console.maintenance.models import Command
from doorward_console.maintenance.models import Rehearsal as Row
from doorward_console.maintenance.sealing import next_sequence, route_to
from doorward_console.times import ms_from_time

_HIGHEST: Final = 65_535
_BANNER: Final = "none"
"""A grant names its door's banner; a rehearsal's has no door."""


def has_way(device: Device) -> bool:
    """Tell whether the device has a relay that may admit it."""
    relay: Relay | None = device.relay
    if relay is None or device.relay_port is None or not is_certifiable(device.tunnel_key):
        return False
    is_known = relay.paired_at is not None or relay.kind == Relay.Kind.PLAIN
    return relay.removed_at is None and relay.project_id == device.project_id and is_known


def locked_relays(devices: Mapping[str, Device]) -> Mapping[str, Relay]:
    """Hold the relays of those of ``devices`` that may be about to rehearse: after the devices, before all else."""
    asked = Command.objects.filter(device__in=list(devices), verb=REHEARSE, state=Command.State.QUEUED)
    held: QuerySet[Relay] = Relay.objects.select_for_update(no_key=True, of=("self",)).order_by("pk")
    return {one.pk: one for one in held.filter(pk__in=asked.values("device__relay"))}


def arguments_for(
    keys: SignerKeys, command: Command, device: Device, relays: Mapping[str, Relay], now: datetime
) -> Mapping[str, Any] | None:
    """Make what a device is told, and the relay's grant; None, and the command refused, where it has no way to a relay any more."""
    relay = relays.get(device.relay_id or "")
    if relay is None or not has_way(device):
        _refuse(command, "signer.no-relay", now)
        return None
    session = SessionId(new_session_id())
    ends_at = min(command.expires_at, now + timedelta(seconds=LASTS_S))
    route = route_to(keys, device, relay, session, now, ends_at)
    arguments = arguments_from_rehearsal(Rehearsal(session, _port_of_nobody(relay), (route,)))
    if size_bytes(arguments) > MAX_ARGUMENTS_BYTES:
        _refuse(command, "command.too-large", now)
        return None
    command.expires_at = ends_at  # what comes later is good for nothing
    command.save(update_fields=["expires_at"])
    if relay.kind != Relay.Kind.PLAIN:
        _sign_grant(keys, command, relay, session, now)
    return arguments


def _refuse(command: Command, code: str, now: datetime) -> None:
    command.state, command.code, command.ended_at = Command.State.REFUSED, code, now
    command.save(update_fields=["state", "code", "ended_at"])
    note(command.project, "command.refused", device=command.device_id, data={**said_of(command), "code": code})


def _port_of_nobody(relay: Relay) -> int:
    """Choose a port that no line and no device of the project has: what a rehearsal asks for has to be refused for that alone."""
    lines = RelayLine.objects.filter(project=relay.project_id).values_list("ports", flat=True)
    devices = Device.objects.filter(project=relay.project_id, relay_port__isnull=False)
    forwards = Forward.objects.filter(device__project=relay.project_id).values_list("port", flat=True)
    given = {port for ports in lines for port in ports}.union(devices.values_list("relay_port", flat=True), forwards)
    return next(port for port in range(_HIGHEST, 0, -1) if port not in given)


def _sign_grant(keys: SignerKeys, command: Command, relay: Relay, session: SessionId, now: datetime) -> None:
    sequence = next_sequence(relay, command.device.project.epoch)
    message = Grant(
        project=ProjectId(command.project_id),
        relay=RelayId(relay.pk),
        sequence=sequence,
        session=session,
        device=DeviceId(command.device_id),
        issued_at=ms_from_time(now),
        ends_at=ms_from_time(command.expires_at),
        forwards=(),
        banner=_BANNER,
        asked=Asked(command.by_name, ms_from_time(command.at), command.reason),
    )
    Row.objects.create(
        command=command,
        relay=relay,
        session=session,
        epoch=sequence.epoch,
        sequence=sequence.number,
        envelope=keys.grant(command.project_id).seal("grant", payload_from_grant(message)),
        ends_at=command.expires_at,
    )
