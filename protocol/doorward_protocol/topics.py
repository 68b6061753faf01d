"""MQTT topics (protocol.md §2): built and taken apart in one place."""

from typing import Final

from doorward_protocol.ids import DeviceId, is_id

ROOT: Final = "doorward/v1/device"
FROM_DEVICE: Final = ("ask", "record", "presence")
TO_DEVICE: Final = ("order", "receipt")


def topic(device: DeviceId | str, leaf: str) -> str:
    """Name the topic ``leaf`` of one device."""
    return f"{ROOT}/{device}/{leaf}"


def all_devices(leaf: str) -> str:
    """Name the filter with which a replica hears ``leaf`` of every device."""
    return f"{ROOT}/+/{leaf}"


def device_and_leaf(name: str) -> tuple[DeviceId, str] | None:
    """Take a topic apart, or answer None if it is not one of ours."""
    head, _, rest = name.partition(ROOT + "/")
    device, _, leaf = rest.partition("/")
    if head or not is_id("d", device) or leaf not in FROM_DEVICE + TO_DEVICE:
        return None
    return DeviceId(device), leaf
