"""Licences of devices: taken in from people, and looked up by whoever decides about a door.

Web takes them, and checks them so that a person hears at once what is wrong; the signer reads the same rows and believes
nothing but the issuer's signature. Called by pages, API and signer.
"""

from collections.abc import Iterable
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from doorward_protocol.reasons import reason_of
from doorward_protocol.signature import KeyRing

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.licences import Licence, LicenceRefused, licence_from_bytes
from doorward_console.fleet.models import Device
from doorward_console.fleet.models import Licence as Row
from doorward_console.history.writing import note
from doorward_console.maintenance.decisions import Ceilings, LicenceFacts, refusal_of_licence
from doorward_console.people.members import Who
from doorward_console.people.models import Project

_MOST_READ: Final = 10
"""Newest first; whoever uploads hundreds of licences for a device does not slow the signer down."""


def add_licence(device: Device, raw: bytes, who: Who) -> Row:
    """Keep a licence file for its device; raises Declined with the code of what is wrong with it."""
    try:
        licence = licence_from_bytes(raw, KeyRing(settings.CONFIG.licence_issuers))
    except LicenceRefused as refused:
        raise _declined(refused.code) from None
    facts = LicenceFacts(is_needed=True, device=device.id, licence=licence, agent_version="999999")
    code = refusal_of_licence(facts, Ceilings(), timezone.now())
    if code is not None:
        raise _declined(code)
    with transaction.atomic():
        made: Row = Row.objects.create(
            device=device,
            envelope=raw,
            valid_until=licence.valid_until,
            least_agent=licence.least_agent,
            added_by_name=who.user.email,
        )
        said = {"valid_until": licence.valid_until.isoformat(), "least_agent": licence.least_agent}
        note(device.project, "licence.added", device=device.id, data={**who.named(), **said})
        ring("web")
    return made


def newest_licence(device: Device) -> Row | None:
    """Give the licence that lasts longest, to be shown."""
    found: Row | None = Row.objects.filter(device=device).order_by("-valid_until", "-pk").first()
    return found


def licence_facts(device: Device, project: Project, issuers: Iterable[str]) -> LicenceFacts:
    """Gather what decides whether a device may be maintained under its project's policy."""
    licence, code = _best(device, KeyRing(issuers))
    return LicenceFacts(
        is_needed=project.licence_policy == Project.LicencePolicy.REQUIRED,
        device=device.id,
        licence=licence,
        code=code,
        agent_version=device.agent_version,
        least_agent=project.least_agent,
    )


def _best(device: Device, issuers: KeyRing) -> tuple[Licence | None, str]:
    """Give the genuine licence that lasts longest; without one, why the newest does not count."""
    genuine: list[Licence] = []
    faults: list[str] = []
    for row in Row.objects.filter(device=device).order_by("-pk")[:_MOST_READ]:
        try:
            licence = licence_from_bytes(bytes(row.envelope), issuers)
        except LicenceRefused as refused:
            faults.append(refused.code)
            continue
        (genuine.append(licence) if licence.device == device.id else faults.append("licence.other-device"))
    best = max(genuine, key=lambda one: one.valid_until, default=None)
    return best, next(iter(faults), "licence.missing")


def what_is_missing(device: Device, project: Project) -> str | None:
    """Say, as the signer will, why a device may not be maintained; None when nothing is missing.

    The signer's own ceilings are not known here.
    """
    facts = licence_facts(device, project, settings.CONFIG.licence_issuers)
    return refusal_of_licence(facts, Ceilings(), timezone.now())


def _declined(code: str) -> Declined:
    reason = reason_of(code)
    return Declined(code, reason.meaning, reason.next)
