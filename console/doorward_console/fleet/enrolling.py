"""The signer's half of joining: certifies a device's public parts, which web wrote down.

The name in each certificate is the device's id from the row; what the request calls itself does not count.
"""

from django.db import transaction
from django.utils import timezone

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Enrolment
from doorward_console.keys.ssh import BadPublicKey, check_public_line
from doorward_console.keys.x509 import BadRequest
from doorward_console.maintenance.signing import Signer


def waiting_enrolments() -> list[int]:
    """List enrolments that wait for certificates, oldest first."""
    waiting = Enrolment.objects.filter(state=Enrolment.State.ASKED)
    return list(waiting.order_by("id").values_list("id", flat=True))


@transaction.atomic
def certify(signer: Signer, enrolment_id: int) -> None:
    """Answer one enrolment: certified, or refused with ``join.malformed`` or ``signer.blocked``."""
    found: Enrolment | None = (
        Enrolment.objects.select_for_update(skip_locked=True)
        .filter(id=enrolment_id, state=Enrolment.State.ASKED)
        .first()
    )
    if found is None:
        return
    device = Device.objects.get(id=found.device_id)
    if device.state == Device.State.BLOCKED:
        found.state, found.code = Enrolment.State.REFUSED, "signer.blocked"
    else:
        _certify(signer, found, device)
    found.save()
    ring("web")


def _certify(signer: Signer, enrolment: Enrolment, device: Device) -> None:
    try:
        check_public_line(enrolment.tunnel_key)
        authority = signer.keys.device_ca(device.project_id)
        enrolment.mqtt_chain = authority.certify(enrolment.mqtt_csr, device.id, timezone.now())
        if enrolment.door_host_key:
            host_ca = signer.keys.host_ca(device.project_id)
            enrolment.door_host_certificate = host_ca.host_certificate(enrolment.door_host_key, device=device.id)
        enrolment.state = Enrolment.State.CERTIFIED
    except (BadRequest, BadPublicKey):
        enrolment.state, enrolment.code = Enrolment.State.REFUSED, "join.malformed"
