"""Which way leads to a device, and what is missing before there is one. Pure: rows in, values out."""

from doorward_protocol.reasons import Reason, reason_of

from doorward_console.fleet.models import Device
from doorward_console.fleet.ssh_lines import Way
from doorward_console.maintenance.models import Session


def way_of(session: Session) -> Way:
    """Say how an open session's door is reached."""
    return Way(
        project=session.project_id,
        device=session.device_id,
        host=session.relay.host,
        port=session.relay_port,
        user=session.login_user,
        is_loopback=session.bind == Device.Bind.LOOPBACK,
    )


def blocker_of(device: Device, *, has_pair: bool, licence_code: str | None = None) -> Reason | None:
    """Say why turning on would surely be refused; None when the signer may agree."""
    if device.state == Device.State.BLOCKED:
        return reason_of("signer.blocked")
    if device.state == Device.State.ADDED:
        return reason_of("signer.not-joined")
    if device.relay_id is None or device.relay_port is None:
        return reason_of("signer.no-relay")
    code = licence_code if has_pair else "signer.no-keys"
    return reason_of(code) if code else None
