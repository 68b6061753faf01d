"""Blocking a device and taking the block away: one transaction that holds the device's row, and shuts before all else."""

from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.maintenance.asker import entitled
from doorward_console.maintenance.closing import held, live_session, start_closing, void
from doorward_console.maintenance.commands.cancelling import cancel_all
from doorward_console.people.models import User
from doorward_console.people.rights import Right


def block(device: Device, user: User, from_address: str, reason: str = "") -> Device:
    """Block the device at once: its session starts closing and nothing is ordered for it until it is unblocked.

    Raises:
        NotEntitled: ``signer.not-entitled``.
    """
    asker = entitled(device, user, from_address, Right.MANAGE_DEVICES)
    with held(device):
        session = live_session(device)
        _set_state(device, Device.State.BLOCKED)
        facts = asker.facts(reason=reason.strip()[:1000])
        note(device.project, "device.blocked", session=session.id if session else None, device=device.id, data=facts)
        void(device, "signer.blocked")
        cancel_all(device, "signer.blocked", asker.name)
        start_closing(device, "session.device-blocked", asker.name, asker.at)
        ring("signer", "worker", "web")
        return device


def unblock(device: Device, user: User, from_address: str, reason: str = "") -> Device:
    """Take the block away; the device is what it was before. One that was removed stays blocked.

    Raises:
        NotEntitled: ``signer.not-entitled``.
    """
    asker = entitled(device, user, from_address, Right.MANAGE_DEVICES)
    with held(device):
        if device.state == Device.State.BLOCKED and device.removed_at is None:
            _set_state(device, Device.State.JOINED if device.joined_at else Device.State.ADDED)
            facts = asker.facts(reason=reason.strip()[:1000])
            note(device.project, "device.unblocked", device=device.id, data=facts)
            ring("signer", "worker", "web")
        return device


def _set_state(device: Device, state: str) -> None:
    device.state = state
    device.save(update_fields=["state"])
