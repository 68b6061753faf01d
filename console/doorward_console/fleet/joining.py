"""How a device joins: a token that works once, the device's public parts in, certificates out (protocol.md §9).

Web checks the token and writes an enrolment down; the signer looks for itself, certifies it and writes it into the
history; web waits for that and answers. A wrong, used or expired token all get the same answer.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from asgiref.sync import sync_to_async
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.joining import (
    TOKEN_BYTES,
    JoinLine,
    fingerprint_of,
    text_from_join,
    token_digest,
    token_from_bytes,
)
from doorward_protocol.reasons import reason_of
from doorward_protocol.signature import BadKey, PublicKeyText, keyid_of

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Enrolment, JoinToken
from doorward_console.history.models import Chain
from doorward_console.history.writing import note
from doorward_console.keys.models import Key
from doorward_console.keys.opening import has_key, public_part
from doorward_console.keys.ssh import BadPublicKey, check_public_line
from doorward_console.people.membership import is_entitled
from doorward_console.people.models import User
from doorward_console.people.rights import Right
from doorward_console.times import ms_from_time

TOKEN_LIFE: Final = timedelta(hours=24)
SIGNER_WAIT_S: Final = 10.0
"""The signer takes milliseconds; this covers one that is being restarted."""
_LOOK_S: Final = 0.05


class JoinRefused(Exception):
    """The device does not join; ``code`` says why."""

    def __init__(self, code: str) -> None:
        reason = reason_of(code)
        super().__init__(f"{reason.meaning} {reason.next}")
        self.code = code


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a device sends to join; the token is a secret."""

    token: str = field(repr=False)
    identity: str
    tunnel_key: str
    door_host_key: str | None
    mqtt_csr: str
    agent: str
    facts: dict[str, Any]


def make_join_line(device: Device, user: User, from_address: str) -> str:
    """Make the one line that lets this device join, shown once; an older line of the device is void from now on.

    Raises:
        JoinRefused: ``signer.not-entitled``, or ``signer.blocked``.
        OSError: the console's own certificate cannot be read.
    """
    if not is_entitled(user, device.project, Right.MANAGE_DEVICES):
        raise JoinRefused("signer.not-entitled")
    if device.state == Device.State.BLOCKED:
        raise JoinRefused("signer.blocked")
    token = token_from_bytes(secrets.token_bytes(TOKEN_BYTES))
    now = timezone.now()
    with transaction.atomic():
        JoinToken.objects.filter(device=device, used_at__isnull=True, expires_at__gt=now).update(expires_at=now)
        JoinToken.objects.create(
            device=device, digest=token_digest(token), made_by=user, made_at=now, expires_at=now + TOKEN_LIFE
        )
        data = {"by": user.email, "from": from_address, "what": "join string made"}
        note(device.project, "device.changed", device=device.id, data=data)
    config = settings.CONFIG
    return text_from_join(JoinLine(config.address, token, fingerprint_of_file(config.tls_certificate)))


def fingerprint_of_file(path: Path) -> str:
    """Name the first certificate of a PEM chain."""
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    return fingerprint_of(leaf.public_bytes(Encoding.DER))


def request_from_json(raw: bytes) -> JoinRequest:
    """Read what a device sent; raises JoinRefused with ``join.malformed``."""
    try:
        source = fields.object_from_json(raw)
        fields.integer(source, "v", least=1, most=1)
        request = JoinRequest(
            token=fields.text(source, "token", longest=64),
            identity=fields.text(source, "identity", longest=44),
            tunnel_key=fields.text(source, "tunnel_key", longest=2000),
            door_host_key=fields.text_or_none(source, "door_host_key", longest=2000),
            mqtt_csr=fields.text(source, "mqtt_csr", longest=8192),
            agent=fields.text(source, "agent", longest=40),
            facts=_facts(source),
        )
        keyid_of(PublicKeyText(request.identity))
        for line in (request.tunnel_key, request.door_host_key):
            if line is not None:
                check_public_line(line)
    except (Malformed, BadKey, BadPublicKey):
        raise JoinRefused("join.malformed") from None
    return request


def _facts(source: Any) -> dict[str, Any]:
    """Keep short texts under short names, at most 32 of them."""
    found = fields.mapping(source, "facts")
    short = {name: value for name, value in found.items() if isinstance(value, str) and len(name) <= 40}
    return {name: value[:200] for name, value in list(short.items())[:32]}


async def join(request: JoinRequest, from_address: str, wait_s: float = SIGNER_WAIT_S) -> dict[str, Any]:
    """Let a device join and give the answer of protocol.md §9, without holding a thread while the signer works.

    Raises:
        JoinRefused: ``join.bad-token`` (wrong, used, expired, or the device is blocked), ``join.other-identity``, or,
            with the token used up, ``join.malformed`` and ``join.refused`` (the signer did not answer in time).
    """
    enrolment = await sync_to_async(_enrol)(request, from_address, timezone.now())
    ends_at = time.monotonic() + wait_s
    while enrolment.state == Enrolment.State.ASKED and time.monotonic() < ends_at:
        await asyncio.sleep(_LOOK_S)
        enrolment = await Enrolment.objects.aget(id=enrolment.id)
    if enrolment.state != Enrolment.State.CERTIFIED:
        raise JoinRefused(enrolment.code or "join.refused")
    return await sync_to_async(_finish)(enrolment)


@transaction.atomic
def _enrol(request: JoinRequest, from_address: str, now: datetime) -> Enrolment:
    """Use the token up and hand the device's public parts to the signer."""
    token: JoinToken | None = (
        JoinToken.objects.select_for_update(no_key=True)
        .filter(digest=token_digest(request.token), used_at__isnull=True, expires_at__gt=now)
        .first()
    )
    if token is None or token.device.state == Device.State.BLOCKED:
        raise JoinRefused("join.bad-token")
    if not all(has_key(kind, token.device.project_id) for kind in (Key.Kind.GRANT, Key.Kind.RECORD)):
        raise JoinRefused("join.refused")  # signer or worker has not made them yet; the token stays good
    if _is_somebody_else(token.device, request.identity):
        raise JoinRefused("join.other-identity")  # the token stays good for the agent that has the device's own
    token.used_at = now
    token.save(update_fields=["used_at"])
    made: Enrolment = Enrolment.objects.create(
        device=token.device,
        token=token,
        identity_key=request.identity,
        tunnel_key=request.tunnel_key,
        door_host_key=request.door_host_key or "",
        mqtt_csr=request.mqtt_csr,
        agent_version=request.agent,
        facts=request.facts,
        from_address=from_address,
    )
    ring("signer")
    return made


def _is_somebody_else(device: Device, identity: str) -> bool:
    """Tell whether the device joined, or has a history, as another identity; two cannot go on in one chain."""
    if device.state == Device.State.JOINED and device.identity_key != identity:
        return True
    signed = Chain.objects.filter(author=f"device:{device.id}", n__gt=0)
    return bool(signed.exclude(public_key=identity).exists())


@transaction.atomic
def _finish(enrolment: Enrolment) -> dict[str, Any]:
    """Take the certified parts over into the device and its chain, and build the answer."""
    device: Device = Device.objects.select_for_update(no_key=True).get(id=enrolment.device_id)
    if device.state == Device.State.BLOCKED:
        raise JoinRefused("join.bad-token")
    now = timezone.now()
    device.state, device.joined_at = Device.State.JOINED, now
    device.identity_key, device.tunnel_key = enrolment.identity_key, enrolment.tunnel_key
    device.door_host_key = enrolment.door_host_key
    device.door_host_certificate = enrolment.door_host_certificate
    device.agent_version, device.facts = enrolment.agent_version, enrolment.facts
    device.boot, device.ask_count, device.nonce, device.runner_nonce = "", 0, "", None
    device.former_boot, device.former_count, device.twin_at = "", 0, None
    device.save()
    Chain.objects.update_or_create(
        author=f"device:{device.id}", defaults={"project": device.project, "public_key": device.identity_key}
    )
    ring("worker", "web")
    return _answer(device, enrolment, now)


def _answer(device: Device, enrolment: Enrolment, now: datetime) -> dict[str, Any]:
    config, project = settings.CONFIG, device.project_id
    return {
        "v": 1,
        "device": device.id,
        "project": project,
        "name": device.name,
        "epoch": device.project.epoch,
        "grant_keys": [public_part(Key.Kind.GRANT, project)],
        "record_keys": [public_part(Key.Kind.RECORD, project)],
        "mqtt": {
            "host": config.broker_host,
            "port": config.broker_port,
            "ca": config.broker_ca.read_text(encoding="ascii"),
            "certificate": enrolment.mqtt_chain,
        },
        "door_host_certificate": enrolment.door_host_certificate or None,
        "clock_at": ms_from_time(now),
    }
