"""The signer's half of joining: certifies a device's public parts, which web wrote down.

The name in each certificate is the device's id from the row; what the request calls itself does not count. The signer
looks at device and token by itself, and writes the join into the history in the transaction that holds the certificate:
web can neither have one made for nothing nor keep one quiet.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from doorward_protocol.signature import BadKey, PublicKeyText, keyid_of

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, Enrolment
from doorward_console.history.writing import note
from doorward_console.keys.ssh import BadPublicKey, check_public_line, openssh_fingerprint
from doorward_console.keys.x509 import BadRequest
from doorward_console.maintenance.signing import Signer

TOKEN_FRESH: Final = timedelta(minutes=5)
"""Web uses the token up in the transaction that makes the enrolment; this covers a signer that is being restarted."""


def waiting_enrolments() -> list[int]:
    """List enrolments that wait for certificates, oldest first."""
    waiting = Enrolment.objects.filter(state=Enrolment.State.ASKED)
    return list(waiting.order_by("id").values_list("id", flat=True))


@transaction.atomic
def certify(signer: Signer, enrolment_id: int) -> None:
    """Answer one enrolment: certified and written into the history, or refused with the code of the reason."""
    found: Enrolment | None = (
        Enrolment.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(id=enrolment_id, state=Enrolment.State.ASKED)
        .first()
    )
    if found is None:
        return
    device = Device.objects.select_related("project").get(id=found.device_id)
    code = _fault(found, device, timezone.now()) or _certify(signer, found, device)
    found.state, found.code = (Enrolment.State.REFUSED if code else Enrolment.State.CERTIFIED), code
    found.save()
    ring("web")


def _fault(enrolment: Enrolment, device: Device, now: datetime) -> str:
    """Say why this device is not to be certified now; empty when it is."""
    if device.state == Device.State.BLOCKED:
        return "signer.blocked"
    if device.state == Device.State.JOINED and device.identity_key != enrolment.identity_key:
        return "join.other-identity"
    return "" if _was_used_just_now(enrolment, now) else "join.bad-token"


def _was_used_just_now(enrolment: Enrolment, now: datetime) -> bool:
    """Tell whether a token of this device was used for this enrolment; that it served no other is the table's rule."""
    token = enrolment.token
    if token is None or token.device_id != enrolment.device_id or token.used_at is None:
        return False
    return bool(now - TOKEN_FRESH <= token.used_at <= min(now, token.expires_at))


def _certify(signer: Signer, enrolment: Enrolment, device: Device) -> str:
    """Fill in the certificates and write the join down; gives ``join.malformed`` instead where a part cannot be read."""
    try:
        check_public_line(enrolment.tunnel_key)
        identity = keyid_of(PublicKeyText(enrolment.identity_key))
        authority = signer.keys.device_ca(device.project_id)
        enrolment.mqtt_chain = authority.certify(enrolment.mqtt_csr, device.id, timezone.now())
        if enrolment.door_host_key:
            host_ca = signer.keys.host_ca(device.project_id)
            enrolment.door_host_certificate = host_ca.host_certificate(enrolment.door_host_key, device=device.id)
    except (BadRequest, BadPublicKey, BadKey):
        enrolment.mqtt_chain = ""
        return "join.malformed"
    data = {
        "from": enrolment.from_address,
        "agent": enrolment.agent_version,
        "identity": identity,
        "tunnel_key": openssh_fingerprint(enrolment.tunnel_key),
    }
    note(device.project, "device.joined", device=device.id, data=data)
    return ""
