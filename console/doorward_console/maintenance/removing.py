"""Removing a device: blocked for good, its session ended, its commands cancelled, its ports free; what it did stays in the history.

Its rows stay, for the history speaks of them. It is confirmed by its name, for nobody can take it back.
"""

from typing import Final

from django.utils import timezone

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device, JoinToken
from doorward_console.history.writing import note
from doorward_console.maintenance.closing import held, live_session, start_closing, void
from doorward_console.maintenance.commands.cancelling import cancel_all
from doorward_console.people.members import Who

SESSION_ENDED: Final = "session.device-removed"
COMMAND_CANCELLED: Final = "command.device-removed"


def remove_device(device: Device, confirm: str, who: Who) -> None:
    """Remove a device whose name was typed as ``confirm``; one that is removed already is left as it is.

    Raises:
        Declined: ``device.not-confirmed``.
    """
    name = device.name
    if confirm != name:
        raise Declined(
            "device.not-confirmed",
            "Removing cannot be taken back, so the device's name has to be typed with it.",
            f"Type it exactly as it stands on its page: {name}",
        )
    with held(device):
        if device.removed_at is not None:
            return
        now, session = timezone.now(), live_session(device)
        facts = {**who.named(), "name": name}
        note(device.project, "device.removed", session=session.id if session else None, device=device.id, data=facts)
        void(device, SESSION_ENDED)
        cancel_all(device, COMMAND_CANCELLED, who.user.email)
        start_closing(device, SESSION_ENDED, who.user.email, now)
        device.state, device.removed_at = Device.State.BLOCKED, now
        device.name = f"{name[:70]} (removed {device.id})"
        device.relay = device.relay_port = None
        device.save(update_fields=["state", "removed_at", "name", "relay", "relay_port"])
        device.forwards.all().delete()
        JoinToken.objects.filter(device=device, used_at__isnull=True, expires_at__gt=now).update(expires_at=now)
        ring("signer", "worker", "web")
