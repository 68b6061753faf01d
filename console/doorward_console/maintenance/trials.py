"""Settings on trial: confirmed by the signer once the device has said so and has rehearsed well since.

The device puts back what nobody confirms. So the console's word has to mean that it can still be reached in every way that is
needed: it has heard the device, over the broker, and the device has reached a relay. Called by the signer and by ``orders``.
"""

from datetime import datetime

from django.db import transaction
from django.utils import timezone
from doorward_protocol.digests import Digest
from doorward_protocol.orders import ConfirmSettings, body_from_text
from doorward_protocol.revisions import Revision

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.commands.rehearsals import has_rehearsed_well
from doorward_console.maintenance.models import Desired
from doorward_console.maintenance.sealing import desire, order_if_connected

TRYING = "trying"


def is_of(desired: Desired, device: Device) -> bool:
    """Tell whether a confirmation is of the trial that the device is at."""
    return device.settings_state == TRYING and body_from_text("confirm", desired.body) == trial_of(device)


def trial_of(device: Device) -> ConfirmSettings:
    """Name the trial that the device is at, as its last ask said it."""
    revision = Revision(device.settings_epoch, device.settings_revision)
    return ConfirmSettings(revision, Digest(device.settings_digest or ""))


def on_trial() -> list[str]:
    """List the devices that try the settings that are wanted of them."""
    devices = Device.objects.filter(state=Device.State.JOINED, settings_state=TRYING, presence="connected")
    return list(devices.values_list("pk", flat=True))


@transaction.atomic
def confirm(keys: SignerKeys, device_id: str) -> bool:
    """Sign the confirmation of a device's trial, where that may be; tells whether it was signed now."""
    device = Device.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=device_id)
    parts = {one.part: one for one in Desired.objects.filter(device=device, part__in=("settings", "confirm"))}
    wanted, confirmed = parts.get("settings"), parts.get("confirm")
    if wanted is None or device.settings_state != TRYING or device.state != Device.State.JOINED:
        return False
    trial = trial_of(device)
    if (Revision(wanted.epoch, wanted.revision), wanted.digest) != (trial.revision, trial.digest):
        return False  # other settings are wanted by now; these may as well be put back
    if confirmed is not None and is_of(confirmed, device):
        return False  # signed already; it is told until the device says that it has it
    if not _has_rehearsed(device, device.settings_at or timezone.now()):
        return False
    desired = desire(device.project, device, "confirm", trial, None)
    order = order_if_connected(keys, device, desired, timezone.now())
    facts = {"epoch": wanted.epoch, "revision": wanted.revision, "digest": wanted.digest, "order": order}
    note(device.project, "settings.confirmed", device=device.pk, data=facts)
    ring("worker", "web")
    return True


def _has_rehearsed(device: Device, since: datetime) -> bool:
    """Tell whether the device has reached its relay since then; one that has no relay has nothing to reach."""
    if device.relay_id is None or device.relay_port is None:
        return True
    return has_rehearsed_well(device, since)
